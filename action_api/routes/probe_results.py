"""The newest result of each probe that a guest asks for, as Prometheus has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from action_api.neighbours import NeighbourUnavailable, ask
from pvewatch.inventory import GuestEntry, ProbeEntry

# A person waits for the page, and its other parts do not need Prometheus.
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe as it was asked for. `answered` is None while there is no result; `seconds` is how long it took."""

    asked: ProbeEntry
    answered: bool | None = None
    seconds: float | None = None


class _Labels(BaseModel):
    name: str = Field(alias="__name__")
    probe: str


class _Series(BaseModel):
    metric: _Labels
    value: tuple[float, float]


class _Vector(BaseModel):
    resultType: Literal["vector"]  # noqa: N815  Prometheus' own name
    result: list[_Series]


class _Answer(BaseModel):
    status: Literal["success"]
    data: _Vector


def probe_results(prometheus_url: str, guest: GuestEntry) -> tuple[Sequence[ProbeResult], str | None]:
    """What came of the guest's probes, and why that is not known, None when it is. Never raises.

    By hand: curl 'http://127.0.0.1:9090/api/v1/query?query=probe_success{job="probes",cluster="home",id="qemu/100"}'
    """
    if not any(probe.target for probe in guest.probes):
        return [ProbeResult(probe) for probe in guest.probes], None
    # Neither a cluster's name nor an id has anything to quote.
    chosen = f'job="probes",cluster="{guest.cluster}",id="{guest.id}"'
    query = f'{{__name__=~"probe_success|probe_duration_seconds",{chosen}}}'
    try:
        document = ask(
            "Prometheus",
            f"{prometheus_url}/api/v1/query",
            params={"query": query},
            timeout_seconds=TIMEOUT_SECONDS,
        )
        found = {
            (one.metric.name, one.metric.probe): one.value[1] for one in _Answer.model_validate(document).data.result
        }
    except NeighbourUnavailable as error:
        return [ProbeResult(probe) for probe in guest.probes], str(error)
    except ValidationError:
        return [ProbeResult(probe) for probe in guest.probes], f"Prometheus at {prometheus_url} answers in another form"
    results = []
    for probe in guest.probes:
        success = found.get(("probe_success", probe.request)) if probe.target else None
        seconds = found.get(("probe_duration_seconds", probe.request)) if success is not None else None
        results.append(ProbeResult(probe, None if success is None else success == 1, seconds))
    return results, None
