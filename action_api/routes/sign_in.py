"""Signing in and out: password, second factor, enrolment."""

from __future__ import annotations

import math

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from markupsafe import Markup

from action_api.auth.forms import local_path
from action_api.auth.passwords import name_problem, verify_password
from action_api.auth.second_factor import new_secret, provisioning_uri, qr_svg, spend_code
from action_api.auth.sessions import Visitor, begin_session, end_session, half_signed_in, needs_role, signed_in, visitor
from action_api.auth.throttle import Key, address_key, code_key, name_key, wait_seconds
from action_api.routes.errors import Refused
from action_api.routes.services import now, services
from action_api.store import User

blueprint = Blueprint("sign_in", __name__)

_WRONG = "The name or the password is wrong."
_WRONG_CODE = "The code is wrong, was used before, or is too old. Wait for the next one."


@blueprint.get("/sign-in")
def form() -> str | Response:
    """The form for name and password."""
    if visitor() is not None:
        return _see(_target())
    return _sign_in_page()


@blueprint.post("/sign-in")
def sign_in() -> str | Response:
    """Check name and password. One answer for unknown, wrong and disabled, after the same work."""
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    keys = (name_key(name), address_key(request.remote_addr))
    wait = max(wait_seconds(services().store, key, now=now()) for key in keys)
    if wait > 0:
        services().store.counters.add("logins", outcome="throttled")
        return _throttled(_sign_in_page(name, _wait_words(wait)), wait)
    user = services().store.users.by_name(name) if name_problem(name) is None else None
    right = verify_password(user.password_hash if user else None, password)
    if user is None or not right or user.disabled_at is not None:
        reason = "unknown_name" if user is None else ("disabled" if right else "wrong_password")
        _note_failure(user, keys, reason)
        return make_response(_sign_in_page(name, _WRONG), 401)
    if user.totp_confirmed_at is not None:
        answer = _see(url_for("sign_in.code_form", next=_target()))
    else:
        services().store.login_failures.clear(keys[0].text)
        _note("login.accepted", user, "accepted", second_factor=False)
        may_act = user.role != "viewer" and services().settings.action_api.require_second_factor
        answer = _see(url_for("sign_in.enrolment", next=_target()) if may_act else _target())
    begin_session(answer, user, second_factor=False)
    return answer


@blueprint.get("/sign-in/code")
def code_form() -> str | Response:
    """The form for the second factor."""
    person = half_signed_in()
    if person is None:
        return _see(url_for("sign_in.form", next=_target()))
    return _see(_target()) if person.complete else _code_page(person)


@blueprint.post("/sign-in/code")
def code() -> str | Response:
    """Check the second factor; the session is made anew, so that the half one is worth nothing."""
    person = half_signed_in()
    if person is None:
        return _see(url_for("sign_in.form", next=_target()))
    if person.complete:
        return _see(_target())
    refused = _check_code(person)
    if refused is not None:
        words, wait = refused
        page = _code_page(person, words)
        return _throttled(page, wait) if wait else make_response(page, 401)
    services().store.login_failures.clear(name_key(person.user.name).text)
    _note("login.accepted", person.user, "accepted", second_factor=True)
    answer = _see(_target())
    begin_session(answer, person.user, second_factor=True)
    return answer


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """End the session."""
    person = half_signed_in()
    answer = _see(url_for("sign_in.form"))
    end_session(answer)
    if person is not None:
        _audit("logout", person.user)
    return answer


@blueprint.get("/account/second-factor")
@needs_role("viewer")
def enrolment() -> str:
    """What the second factor is; where enrolment has begun, the code to scan."""
    return _enrolment_page(signed_in())


@blueprint.post("/account/second-factor/begin")
@needs_role("viewer")
def begin_enrolment() -> Response:
    """Make a secret. It counts for nothing until a code of it was shown."""
    person = _not_yet_enrolled()
    services().store.users.set_totp_secret(person.user.id, new_secret())
    return _see(url_for("sign_in.enrolment", next=_target()))


@blueprint.post("/account/second-factor")
@needs_role("viewer")
def enrol() -> str | Response:
    """Confirm the secret with a code; this session counts as confirmed too."""
    person = _not_yet_enrolled()
    if person.user.totp_secret is None:
        return _see(url_for("sign_in.enrolment", next=_target()))
    refused = _check_code(person)
    if refused is not None:
        words, wait = refused
        page = _enrolment_page(person, words)
        return _throttled(page, wait) if wait else make_response(page, 400)
    services().store.users.confirm_totp(person.user.id, now=now())
    _audit("second_factor.enrolled", person.user)
    answer = _see(_target())
    begin_session(answer, person.user, second_factor=True)
    return answer


def _not_yet_enrolled() -> Visitor:
    person = signed_in()
    if person.enrolled:
        raise Refused(
            409,
            "already_enrolled",
            "A second factor is set up already.",
            remedy=f"To use another device, an administrator runs: pvewatch user totp {person.user.name} --reset",
        )
    return person


def _check_code(person: Visitor) -> tuple[str, float] | None:
    """None when the code is right; else the words for the page and how long to wait (0: not at all)."""
    store, key = services().store, code_key(person.user.id)
    wait = wait_seconds(store, key, now=now())
    if wait > 0:
        store.counters.add("logins", outcome="throttled")
        return _wait_words(wait), wait
    if not spend_code(store, person.user, request.form.get("code", ""), now=now()):
        _note_failure(person.user, (key,), "wrong_code")
        return _WRONG_CODE, 0.0
    store.login_failures.clear(key.text)
    return None


def _note_failure(user: User | None, keys: tuple[Key, ...], reason: str) -> None:
    for key in keys:
        services().store.login_failures.record(key.text, now=now())
    wait = max(wait_seconds(services().store, key, now=now()) for key in keys)
    _note("login.refused", user, "refused", reason=reason, **({"next_try_in_seconds": round(wait)} if wait else {}))


def _note(event: str, user: User | None, outcome: str, **detail: object) -> None:
    services().store.counters.add("logins", outcome=outcome)
    _audit(event, user, **detail)


def _audit(event: str, user: User | None, **detail: object) -> None:
    # A name that nobody has may be a password typed into the wrong field: it is not written down.
    services().store.audit.write(
        event,
        actor=user.name if user else "(unknown name)",
        origin="person",
        now=now(),
        remote=request.remote_addr,
        detail=detail,
    )


def _target() -> str:
    return local_path(request.values.get("next"), default=url_for("overview.page"))


def _see(path: str) -> Response:
    answer = redirect(path, 303)
    return make_response(answer)


def _throttled(page: str, wait: float) -> Response:
    return make_response(page, 429, {"Retry-After": str(math.ceil(wait))})


def _wait_words(wait: float) -> str:
    seconds = math.ceil(wait)
    span = f"{seconds} seconds" if seconds <= 90 else f"{math.ceil(seconds / 60)} minutes"
    return f"Too many failed tries. Wait {span}, then try again."


def _sign_in_page(name: str = "", problem: str | None = None) -> str:
    return render_template("sign_in.html", name=name[:64], problem=problem, next=_target())


def _code_page(person: Visitor, problem: str | None = None) -> str:
    return render_template("code.html", name=person.user.name, problem=problem, next=_target())


def _enrolment_page(person: Visitor, problem: str | None = None) -> str:
    secret = None if person.enrolled else person.user.totp_secret
    qr = Markup(qr_svg(provisioning_uri(person.user.name, secret))) if secret else None  # noqa: S704  segno's own SVG
    return render_template("second_factor.html", person=person, secret=secret, qr=qr, problem=problem, next=_target())
