"""Sessions on the server: the browser holds 256 random bits, the database their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import NoReturn, ParamSpec, TypeVar
from urllib.parse import quote

from flask import Flask, Response, g, redirect, request, url_for

from action_api.auth.forms import FORM_FIELD, form_token, form_token_matches, local_path, origin_of
from action_api.catalogue import ROLES
from action_api.routes.errors import Refused, wants_json
from action_api.routes.services import now, services
from action_api.store import Role, Session, User

_P = ParamSpec("_P")
_R = TypeVar("_R")

SIGN_IN_SECONDS = 600
"""How long a password waits for its second factor."""

# Called by programs with a bearer token or by nobody's browser session: no cookie gives them any right.
_WITHOUT_FORMS = frozenset({"pve_notifications", "relay", "webhooks"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person and their session. The repr names nobody's secrets."""

    user: User
    session: Session

    @property
    def enrolled(self) -> bool:
        """Whether the person has a second factor."""
        return self.user.totp_confirmed_at is not None

    @property
    def complete(self) -> bool:
        """Whether everything that this person's sign-in needs was given."""
        return not self.enrolled or self.session.second_factor_at is not None

    @property
    def may_change(self) -> bool:
        """Whether this session is strong enough to change something (the role is asked for apart)."""
        if self.session.second_factor_at is not None:
            return True
        return self.complete and not services().settings.action_api.require_second_factor

    def has_role(self, role: Role) -> bool:
        """Whether the person's role is this one or a higher one."""
        return ROLES.index(self.user.role) >= ROLES.index(role)


def hash_of(token: str) -> str:
    """What is stored of a random token."""
    return hashlib.sha256(token.encode()).hexdigest()


def begin_session(answer: Response, user: User, *, second_factor: bool) -> None:
    """Sign the person in on this browser; the session that it had ends."""
    end_session()
    settings, moment = services().settings, now()
    token = secrets.token_urlsafe(32)
    seconds = settings.action_api.session_hours * 3600
    waiting = user.totp_confirmed_at is not None and not second_factor
    expires_at = moment + (min(SIGN_IN_SECONDS, seconds) if waiting else seconds)
    services().store.sessions.create(hash_of(token), user.id, now=moment, expires_at=expires_at)
    if second_factor:
        services().store.sessions.second_factor_given(hash_of(token), now=moment)
    _set_cookie(answer, _session_cookie(), token, max_age=int(expires_at - moment))


def end_session(answer: Response | None = None) -> None:
    """End the session of this browser, if it has one; with `answer`, forget the cookie too."""
    token = request.cookies.get(_session_cookie())
    if token:
        services().store.sessions.revoke(hash_of(token), now=now())
    if answer is not None:
        secure = services().settings.secure_cookies
        answer.delete_cookie(_session_cookie(), path="/", secure=secure, httponly=True, samesite="Lax")


def half_signed_in() -> Visitor | None:
    """Who has given a password in this browser, perhaps not yet the second factor."""
    if "visitor" not in g:
        token = request.cookies.get(_session_cookie())
        found = services().store.sessions.find(hash_of(token), now=now()) if token else None
        g.visitor = Visitor(user=found[1], session=found[0]) if found else None
    return g.visitor if isinstance(g.visitor, Visitor) else None


def visitor() -> Visitor | None:
    """Who is signed in, second factor included where there is one."""
    person = half_signed_in()
    return person if person is not None and person.complete else None


def signed_in() -> Visitor:
    """The visitor, on an address that `needs_role` guards."""
    person = visitor()
    if person is None:
        raise RuntimeError("signed_in() is for addresses that needs_role guards")
    return person


def needs_role(role: Role) -> Callable[[Callable[_P, _R]], Callable[_P, _R | Response]]:
    """Guard an address: others are sent to sign in, or refused."""

    def guard(view: Callable[_P, _R]) -> Callable[_P, _R | Response]:
        @wraps(view)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R | Response:
            person = visitor()
            if person is None:
                return _to_sign_in()
            if not person.has_role(role):
                refuse_role(person, role)
            return view(*args, **kwargs)

        return guarded

    return guard


def refuse_role(person: Visitor, role: Role) -> NoReturn:
    """Record and raise the refusal of a person without that role."""
    services().store.audit.write(
        "access.refused",
        actor=person.user.name,
        origin="person",
        now=now(),
        remote=request.remote_addr,
        detail={"method": request.method, "path": request.path[:200], "needs": role, "has": person.user.role},
    )
    raise Refused(
        403,
        "role_missing",
        f"This needs the role {role}; {person.user.name} is {person.user.role}.",
        remedy=f"An administrator can change it: pvewatch user role {person.user.name} {role}",
        detail={"needs": role, "has": person.user.role},
    )


def _to_sign_in() -> Response:
    if wants_json():
        raise Refused(401, "not_signed_in", "Nobody is signed in.", remedy="Sign in with a browser first.")
    target = request.full_path.rstrip("?") if request.method == "GET" else request.path
    sign_in = f"{url_for('sign_in.form')}?next={quote(local_path(target), safe='/')}"
    if request.method != "GET":
        raise Refused(
            401,
            "not_signed_in",
            "Your session has ended; nothing was changed.",
            remedy="Sign in again and repeat what you were doing.",
            link=(sign_in, "Sign in"),
        )
    answer = redirect(sign_in, 303)
    assert isinstance(answer, Response)  # noqa: S101  flask types redirect() as werkzeug's base class
    return answer


def register(app: Flask) -> None:
    """Check the form token of every changing request, and give templates theirs."""
    app.before_request(_check_form)
    app.after_request(_set_visit_cookie)
    app.jinja_env.globals["form_token"] = lambda: form_token(_form_cookie())
    app.jinja_env.globals["visitor"] = visitor


def _check_form() -> None:
    if request.method in ("GET", "HEAD", "OPTIONS") or request.endpoint is None:
        return
    if request.blueprint in _WITHOUT_FORMS:
        return
    origin = request.headers.get("Origin")
    ours = {origin_of(services().settings.public_url), origin_of(request.host_url)}
    elsewhere = (origin is not None and origin.lower() not in ours) or (
        request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
    )
    cookie = request.cookies.get(_session_cookie()) or request.cookies.get(_visit_cookie()) or ""
    if elsewhere or not cookie or not form_token_matches(cookie, request.form.get(FORM_FIELD, "")):
        raise Refused(
            403,
            "form_not_ours",
            "This form was not sent from a page that pvewatch gave to this browser, or the page was too old.",
            remedy="Open the page again and repeat; cookies must be allowed.",
        )


def _form_cookie() -> str:
    """The cookie that this browser's forms are bound to; a browser without one is given one."""
    cookie = request.cookies.get(_session_cookie()) or request.cookies.get(_visit_cookie()) or g.get("visit")
    if not cookie:
        cookie = g.visit = secrets.token_urlsafe(32)
    return str(cookie)


def _set_visit_cookie(answer: Response) -> Response:
    if "visit" in g:
        _set_cookie(answer, _visit_cookie(), g.visit, max_age=86400)
    return answer


def _set_cookie(answer: Response, name: str, value: str, *, max_age: int) -> None:
    secure = services().settings.secure_cookies
    answer.set_cookie(name, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="Lax")


def _session_cookie() -> str:
    return _cookie_name("session")


def _visit_cookie() -> str:
    return _cookie_name("visit")


def _cookie_name(name: str) -> str:
    # Browsers take a __Host- cookie only over https and from this very host: a neighbour cannot plant one.
    return f"__Host-pvewatch_{name}" if services().settings.secure_cookies else f"pvewatch_{name}"
