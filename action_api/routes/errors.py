"""Every refusal and failure that a caller sees, in one shape.

JSON where JSON is wanted: `{"error": {"code": "...", "message": "...", "detail": ...}}`; else a page that says it.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from flask import Flask, Response, g, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from action_api.store import StoreUnavailable

_log = logging.getLogger(__name__)

_MACHINE_PATHS = ("/api/", "/webhook/", "/-/", "/metrics")

_WORDS = {
    400: ("bad_request", "The request could not be understood."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take that kind of request."),
    413: ("too_large", "The request is larger than this address takes."),
    415: ("unsupported_media_type", "The request's content type is not taken here."),
}


class Refused(Exception):
    """A request that is not served: `message` says what and where, `remedy` what to do; both are shown."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        remedy: str | None = None,
        detail: Any = None,
        headers: dict[str, str] | None = None,
        link: tuple[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.remedy = remedy
        self.detail = detail
        self.headers = headers or {}
        self.link = link


def wants_json() -> bool:
    """Whether the caller is a program: by the address, else by what it accepts."""
    if request.path.startswith(_MACHINE_PATHS):
        return True
    accepted = request.accept_mimetypes
    return accepted.best_match(["text/html", "application/json"], "text/html") == "application/json"


def error_response(error: Refused) -> Response:
    """The answer to a refused request."""
    if wants_json():
        message = f"{error.message} {error.remedy}" if error.remedy else error.message
        body = {"error": {"code": error.code, "message": message, "detail": error.detail}}
        answer = make_response(jsonify(body), error.status)
    else:
        answer = make_response(render_template("error.html", error=error), error.status)
    answer.headers.update(error.headers)
    return answer


def register(app: Flask) -> None:
    """Translate every failure of `app`."""
    app.register_error_handler(Refused, error_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(StoreUnavailable, _no_database)
    app.register_error_handler(Exception, _unexpected)


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:  # a redirect that the router asked for, such as a missing slash
        return make_response(error.get_response())
    code, message = _WORDS.get(status, ("error", error.description or error.name))
    allowed = {"Allow": ", ".join(sorted(getattr(error, "valid_methods", None) or ()))} if status == 405 else {}
    return error_response(Refused(status, code, message, headers=allowed))


def _no_database(error: StoreUnavailable) -> Response:
    _log.error("%s", error, extra={"method": request.method, "path": request.path})
    g.database_gone = True  # the page must not ask who is looking at it
    message = "The action API's database does not answer."
    remedy = "Nothing was changed. Try again in a moment; the log of the action API says more."
    return error_response(Refused(503, "database_unavailable", message, remedy=remedy))


def _unexpected(error: Exception) -> Response:
    # The page gets a reference and no more: an exception's text may hold anything, also a secret.
    reference = secrets.token_hex(4)
    _log.error(
        "request failed", exc_info=error, extra={"reference": reference, "method": request.method, "path": request.path}
    )
    message = "Something went wrong in pvewatch itself."
    remedy = f"The log of the action API says more under reference {reference}."
    return error_response(Refused(500, "internal_error", message, remedy=remedy, detail={"reference": reference}))
