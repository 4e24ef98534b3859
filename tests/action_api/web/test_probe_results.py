"""The guest's page with the probes that it asks for, before a Prometheus that answers, is silent or is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request

from action_api.store import Store
from pvewatch.inventory import ProbeEntry
from pvewatch.serve import serve
from tests.action_api.web.site import Site, settings_for

PAGE = "/guests/alpha/qemu/100"
ASKED = [
    ProbeEntry(request="tcp:22", module="tcp", target="192.0.2.7:22"),
    ProbeEntry(request="http:8080/health", module="http", target="http://192.0.2.7:8080/health"),
    ProbeEntry(request="icmp", module="icmp", target="192.0.2.7"),
    ProbeEntry(request="http://localhost/", problem="localhost is no known address of this guest"),
]


class FakePrometheus:
    """Answers one query in the form of https://prometheus.io/docs/prometheus/latest/querying/api/#instant-vectors."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.body: str | None = None
        self.app = Flask(__name__)
        self.app.add_url_rule("/api/v1/query", view_func=self._answer)

    def _answer(self) -> Response:
        self.queries.append(request.args["query"])
        rows = [
            self._row("probe_success", "tcp:22", "1"),
            self._row("probe_duration_seconds", "tcp:22", "0.042"),
            self._row("probe_success", "http:8080/health", "0"),
            self._row("probe_duration_seconds", "http:8080/health", "9.5"),
        ]
        told = {"status": "success", "data": {"resultType": "vector", "result": rows}}
        return Response(json.dumps(told) if self.body is None else self.body, content_type="application/json")

    @staticmethod
    def _row(name: str, probe: str, value: str) -> dict[str, Any]:
        labels = {"__name__": name, "job": "probes", "cluster": "alpha", "id": "qemu/100", "probe": probe}
        return {"metric": labels, "value": [1790000000.0, value]}


@pytest.fixture
def prometheus() -> FakePrometheus:
    return FakePrometheus()


@pytest.fixture
def site(tmp_path: Path, store: Store, prometheus: FakePrometheus) -> Iterator[Site]:
    listener = serve(prometheus.app, "127.0.0.1:0").start()
    host, port = listener.address
    settings = settings_for(tmp_path)
    told = settings.prometheus.model_copy(update={"url": f"http://{host}:{port}"})
    site = Site(tmp_path, store, settings=settings.model_copy(update={"prometheus": told}))
    site.inventory.change("alpha", 100, probes=ASKED)
    yield site
    listener.stop()


def services_of(site: Site) -> str:
    """The part of the page about probes, as a viewer sees it."""
    answer = site.signed_in("Charlie").get(PAGE)
    assert answer.status_code == 200
    _, _, rest = answer.text.partition('<h2 id="probes-title">')
    return rest.partition("</section>")[0]


def line(part: str, probe: str) -> str:
    return part.partition(f"<dt>{probe}</dt>")[2].partition("</div>")[0]


def test_each_probe_stands_with_its_newest_result(site: Site) -> None:
    part = services_of(site)

    assert "Answers" in line(part, "tcp:22")
    assert "0.04 s" in line(part, "tcp:22")
    assert "Does not answer" in line(part, "http:8080/health")
    assert "no result yet" in line(part, "icmp")
    assert "not probed: localhost is no known address of this guest" in line(part, "http://localhost/")


def test_prometheus_is_asked_for_this_guest_alone(site: Site, prometheus: FakePrometheus) -> None:
    services_of(site)

    assert len(prometheus.queries) == 1
    assert 'cluster="alpha",id="qemu/100"' in prometheus.queries[0]


def test_a_guest_without_probes_costs_no_question(site: Site, prometheus: FakePrometheus) -> None:
    site.inventory.change("alpha", 100, probes=[])

    assert services_of(site) == ""
    assert prometheus.queries == []


@pytest.mark.parametrize("body", ["<html>", "[]", '{"status": "error"}', '{"status": "success", "data": {}}'])
def test_a_strange_answer_is_told_and_the_page_stands(site: Site, prometheus: FakePrometheus, body: str) -> None:
    prometheus.body = body

    part = services_of(site)

    assert "The results are not known now: Prometheus at" in part
    assert "not known" in line(part, "tcp:22")
    assert "not probed" in line(part, "http://localhost/")


def test_without_prometheus_the_page_says_so(tmp_path: Path, store: Store) -> None:
    settings = settings_for(tmp_path)
    nobody = settings.prometheus.model_copy(update={"url": "http://127.0.0.1:9"})
    site = Site(tmp_path, store, settings=settings.model_copy(update={"prometheus": nobody}))
    site.inventory.change("alpha", 100, probes=ASKED)

    part = services_of(site)

    assert "Prometheus at http://127.0.0.1:9/api/v1/query does not answer" in part
    assert "not known" in line(part, "tcp:22")
