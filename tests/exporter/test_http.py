"""The exporter's routes: who may read what, and the one shape of every error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from exporter.http import create_app
from pvewatch.config import HostPort, Secret
from pvewatch.inventory import Inventory
from tests.exporter.conftest import Bench

TOKEN = "inventory-secret"


@pytest.fixture
def web(bench: Bench) -> FlaskClient:
    return create_app(bench.exporter, Secret(TOKEN), Secret("discovery-secret")).test_client()


def assert_error(answer: TestResponse, status: int, code: str) -> None:
    assert answer.status_code == status
    body = answer.get_json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "detail"}
    assert body["error"]["code"] == code
    assert body["error"]["message"]


def test_metrics_are_the_classic_text_format(bench: Bench, web: FlaskClient) -> None:
    bench.poll()
    answer = web.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b'pve_up{cluster="lab",id="qemu/100"} 1' in answer.data
    assert b"process_cpu_seconds_total" in answer.data


def test_the_inventory_is_what_its_contract_says(bench: Bench, web: FlaskClient) -> None:
    bench.poll()
    answer = web.get("/api/v1/inventory", headers={"Authorization": f"Bearer {TOKEN}"})
    inventory = Inventory.model_validate_json(answer.data)
    guest = inventory.guest("lab", 100)
    assert guest is not None
    assert (guest.name, guest.node, guest.status, guest.tags) == ("web1", "pve1", "running", ["prod", "web"])
    assert guest.heartbeat is None
    entry = inventory.clusters[0]
    assert (entry.quorate, entry.version, entry.error, entry.members) == (True, "8.4.21", None, ["lab"])


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer é", f"Bearer {TOKEN}x"],
)
def test_the_inventory_is_for_whoever_has_the_token_only(web: FlaskClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = web.get("/api/v1/inventory", headers=headers)
    assert_error(answer, 401, "unauthorized")
    assert TOKEN.encode() not in answer.data
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_an_unknown_path_and_a_wrong_method_have_the_one_error_shape(web: FlaskClient) -> None:
    assert_error(web.get("/nowhere"), 404, "not_found")
    assert_error(web.post("/metrics"), 405, "method_not_allowed")


def test_any_path_somebody_tries_is_counted_as_one_route(bench: Bench, web: FlaskClient) -> None:
    for number in range(5):
        web.get(f"/nowhere/{number}")
    assert bench.value("pvewatch_http_request_duration_seconds_count", route="other", status="404") == 5


def test_it_is_ready_once_every_cluster_was_tried_though_one_is_gone(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(HostPort(host="127.0.0.1", port=1))
    web = create_app(bench.exporter, Secret(TOKEN), Secret("discovery-secret")).test_client()
    assert_error(web.get("/-/ready"), 503, "not_ready")
    assert web.get("/-/ready").get_json()["error"]["detail"] == {"untried": ["lab"]}
    assert web.get("/-/healthy").status_code == 200
    bench.poll()
    assert web.get("/-/ready").status_code == 200


def test_the_landing_page_names_the_clusters_and_hides_why_one_fails(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(HostPort(host="127.0.0.1", port=1))
    bench.poll()
    page = create_app(bench.exporter, Secret(TOKEN), Secret("discovery-secret")).test_client().get("/")
    assert b"<td>lab" in page.data
    assert b"127.0.0.1" not in page.data
    assert b'href="/metrics"' in page.data
