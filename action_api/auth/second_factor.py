"""The second factor: six digits that change every 30 seconds (TOTP, RFC 6238)."""

from __future__ import annotations

import hmac
import re

import pyotp
import segno

from action_api.store import Store, User

ISSUER = "pvewatch"
STEP_SECONDS = 30


def new_secret() -> str:
    """A fresh secret, 160 bits in base32."""
    return pyotp.random_base32()


def provisioning_uri(name: str, secret: str) -> str:
    """The otpauth:// address that authenticator apps read."""
    return pyotp.TOTP(secret, interval=STEP_SECONDS).provisioning_uri(name=name, issuer_name=ISSUER)


def qr_svg(uri: str) -> str:
    """The address as an SVG element without styles or scripts. Dark on white: apps cannot read it the other way."""
    return segno.make(uri, error="m").svg_inline(
        scale=5, border=4, dark="#000", light="#fff", omitsize=True, svgclass=None, lineclass=None
    )


def matching_step(secret: str, code: str, *, now: float) -> int | None:
    """The time step whose code this is; the steps just before and after count too, for clocks that differ."""
    digits = re.sub(r"\s", "", code)
    if not re.fullmatch(r"[0-9]{6}", digits):
        return None
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    step = int(now // STEP_SECONDS)
    matches = [
        candidate
        for candidate in (step - 1, step, step + 1)
        if hmac.compare_digest(totp.generate_otp(candidate), digits)
    ]
    return max(matches, default=None)


def spend_code(store: Store, user: User, code: str, *, now: float) -> bool:
    """Whether the code is right and was not used before: one read over a shoulder is worth nothing."""
    if user.totp_secret is None:
        return False
    step = matching_step(user.totp_secret, code, now=now)
    return step is not None and store.users.use_totp_step(user.id, step)
