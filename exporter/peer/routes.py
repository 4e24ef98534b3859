"""`GET /pve`: the parameters and status codes that prometheus-pve-exporter has, and two of our own, 403 and 503."""

from __future__ import annotations

from flask import Blueprint, Response, request

from exporter.exposition import CONTENT_TYPE
from exporter.peer.endpoint import ANSWER_SECONDS, LONGEST_ANSWER_SECONDS, TRANSFER_SECONDS, NothingRead, Peer
from exporter.peer.modules import DEFAULT_MODULE
from exporter.peer.targets import NotAllowed, UnknownModule

_TIMEOUT_HEADER = "X-Prometheus-Scrape-Timeout-Seconds"
_OFF = {"false", "0", ""}


def peer_routes(peer: Peer) -> Blueprint:
    """The route over a running endpoint."""
    routes = Blueprint("peer", __name__)

    @routes.get("/pve")
    def pve() -> Response:
        asked = request.args
        try:
            page = peer.answer(
                asked.get("target", "localhost"),
                asked.get("module", DEFAULT_MODULE),
                cluster=is_on(asked.get("cluster", "1")),
                node=is_on(asked.get("node", "1")),
                seconds=_seconds(request.headers.get(_TIMEOUT_HEADER)),
            )
        except UnknownModule as error:
            return _plain(400, str(error))
        except NotAllowed as error:
            return _plain(403, f"{error}\n")
        except NothingRead as error:
            return _plain(503, f"{error}\n")
        return Response(page, content_type=CONTENT_TYPE)

    return routes


def is_on(value: str) -> bool:
    """Whether a parameter switches on: anything but false, 0 and nothing."""
    return value.lower() not in _OFF


def _seconds(header: str | None) -> float:
    """How long the answer may take: a little less than Prometheus waits."""
    try:
        wanted = float(header or "")
    except ValueError:
        return ANSWER_SECONDS
    # Not a number compares false with everything, and so becomes the default.
    return min(wanted, LONGEST_ANSWER_SECONDS) - TRANSFER_SECONDS if wanted > 2 * TRANSFER_SECONDS else ANSWER_SECONDS


def _plain(status: int, text: str) -> Response:
    return Response(text, status=status, content_type="text/plain; charset=utf-8")
