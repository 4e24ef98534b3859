"""Where a browser may be sent, and whose forms are taken.

One scheme for every form, sign-in included: the form carries a token derived from a cookie of that browser, the cookie
is SameSite=Lax, and a browser that names another origin is refused. Nothing is stored for it.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

FORM_FIELD = "form_token"


def form_token(cookie: str) -> str:
    """The token for the forms of the browser that holds this cookie; does not reveal the cookie."""
    return hmac.new(cookie.encode(), b"pvewatch form", hashlib.sha256).hexdigest()


def form_token_matches(cookie: str, token: str) -> bool:
    """Whether a form came from a page that this browser was given."""
    return hmac.compare_digest(form_token(cookie).encode(), token.encode())


def origin_of(url: str) -> str:
    """Scheme, host and port of an address, as browsers write an origin."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def local_path(target: str | None, *, default: str = "/") -> str:
    """`target` if it is a path on this origin, else `default`.

    Browsers read `//host`, `/\\host` and a scheme as another origin, and drop tabs and newlines before they look.
    """
    if not target or len(target) > 2000 or not target.startswith("/"):
        return default
    if target.startswith("//") or "\\" in target or not target.isprintable() or " " in target:
        return default
    try:
        parts = urlsplit(target)
    except ValueError:
        return default
    return default if parts.scheme or parts.netloc or parts.path.startswith("//") else target
