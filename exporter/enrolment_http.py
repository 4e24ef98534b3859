"""The one route that gives out agents' tokens: POST /api/v1/enrolment, for the action API alone.

It has a secret of its own (`<data_dir>/secrets/enrolment`), so that whoever may read the inventory can still not speak
for a guest. The token is in the answer's body only, never in an address or a log.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify, request
from pydantic import ValidationError

from exporter.heartbeats import keys
from exporter.heartbeats.enrolment import InstallerMissing, agents_url, install_script, trusted_authority
from exporter.http import bears, error_answer
from pvewatch.config import ConfigError, Secret, Settings
from pvewatch.enrolment import ENROLMENT_PATH, Enrolment, EnrolmentRequest


def create_blueprint(settings: Settings, is_watched: Callable[[str], bool], secret: Secret) -> Blueprint:
    """The route; `is_watched` says of a name whether heartbeats are taken for that cluster."""
    blueprint = Blueprint("enrolment", __name__)

    @blueprint.post(ENROLMENT_PATH)
    def enrol() -> Response | tuple[Response, int]:
        if not bears(request.headers.get("Authorization", ""), secret):
            refusal, status = error_answer(
                401, "unauthorized", "send Authorization: Bearer with the secret in <data_dir>/secrets/enrolment"
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal, status
        try:
            wanted = EnrolmentRequest.model_validate_json(request.get_data())
        except ValidationError as error:
            fields = [{"field": ".".join(map(str, e["loc"])), "problem": e["msg"]} for e in error.errors()]
            return error_answer(422, "invalid", "the request is not one for an agent", fields)
        if not is_watched(wanted.cluster):
            return error_answer(404, "unknown_cluster", f"the cluster {wanted.cluster!r} is not configured here")
        try:
            given = _enrolment(settings, wanted)
        except InstallerMissing as error:
            return error_answer(404, "no_installer", str(error))
        except ConfigError as error:
            words = "; ".join(f"{each.place}: {each.message}; {each.remedy}" for each in error.problems)
            return error_answer(409, "not_configured", words)
        answer = jsonify(given.model_dump())
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return blueprint


def _enrolment(settings: Settings, wanted: EnrolmentRequest) -> Enrolment:
    token = keys.current_token(settings.data_dir, wanted.cluster, wanted.vmid)
    if wanted.platform is None:
        try:
            return Enrolment(token=token, url=agents_url(settings))
        except ConfigError:
            # The token is good all the same: who asks for it alone may know another way to the listener.
            return Enrolment(token=token)
    guest, url = f"{wanted.cluster}/{wanted.vmid}", agents_url(settings)
    script = install_script(wanted.platform, guest, token, url, authority=trusted_authority(settings))
    return Enrolment(token=token, url=url, script=script)
