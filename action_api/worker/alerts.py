"""Asks Prometheus which alerts fire, and Alertmanager which are silenced. Read-only, bounded in time and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from action_api.neighbours import NeighbourUnavailable, ask, first_answer


@dataclass(frozen=True, slots=True)
class AlertState:
    """What Alertmanager says of one alert: unknown to it, active, or suppressed by something."""

    known: bool
    suppressed_by: str | None


class _Labels(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Series(_Labels):
    metric: dict[str, str]


class _Vector(_Labels):
    resultType: Literal["vector"]  # noqa: N815  Prometheus' own name
    result: list[_Series]


class _QueryAnswer(_Labels):
    status: Literal["success"]
    data: _Vector


class _Status(_Labels):
    state: str
    silencedBy: list[str] = []  # noqa: N815  Alertmanager's own name
    inhibitedBy: list[str] = []  # noqa: N815  Alertmanager's own name


class _Alert(_Labels):
    labels: dict[str, str]
    status: _Status


def firing_alerts(prometheus_url: str, cluster: str, *, timeout_seconds: float) -> tuple[Mapping[str, str], ...]:
    """The labels of all alerts that fire for a cluster. Raises NeighbourUnavailable.

    By hand: curl 'http://127.0.0.1:9090/api/v1/query?query=ALERTS{alertstate="firing",cluster="home"}'
    """
    query = f'ALERTS{{alertstate="firing",cluster="{cluster}"}}'  # a cluster's name needs no quoting
    document = ask(
        "Prometheus", f"{prometheus_url}/api/v1/query", params={"query": query}, timeout_seconds=timeout_seconds
    )
    try:
        answer = _QueryAnswer.model_validate(document)
    except ValidationError as error:
        raise NeighbourUnavailable(f"Prometheus at {prometheus_url} gave an answer of another shape") from error
    return tuple(series.metric for series in answer.data.result)


def alert_state(
    alertmanager_urls: Sequence[str], *, alertname: str, cluster: str, guest_id: str, timeout_seconds: float
) -> AlertState:
    """Whether Alertmanager knows the guest's alert, and what silences or inhibits it. Raises NeighbourUnavailable.

    Of several the first that answers counts; all of them together have `timeout_seconds`.
    By hand: amtool alert query --inhibited --silenced alertname=GuestHeartbeatMissing cluster=home id=qemu/100
    """
    filters = [f'alertname="{alertname}"', f'cluster="{cluster}"', f'id="{guest_id}"']
    seconds = timeout_seconds / len(alertmanager_urls)
    return first_answer(alertmanager_urls, lambda url: _alert_state(url, filters, seconds))


def _alert_state(alertmanager_url: str, filters: Sequence[str], timeout_seconds: float) -> AlertState:
    document = ask(
        "Alertmanager", f"{alertmanager_url}/api/v2/alerts", params={"filter": filters}, timeout_seconds=timeout_seconds
    )
    if not isinstance(document, list):
        raise NeighbourUnavailable(f"Alertmanager at {alertmanager_url} gave an answer of another shape")
    try:
        alerts = [_Alert.model_validate(row) for row in document]
    except ValidationError as error:
        raise NeighbourUnavailable(f"Alertmanager at {alertmanager_url} gave an answer of another shape") from error
    for alert in alerts:
        if alert.status.silencedBy:
            return AlertState(True, "a silence")
        if alert.status.inhibitedBy:
            return AlertState(True, "another alert inhibits it")
        if alert.status.state == "suppressed":
            return AlertState(True, "suppressed")
    return AlertState(bool(alerts), None)
