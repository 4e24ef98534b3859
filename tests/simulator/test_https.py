"""The listener over a real socket: TLS, status codes, reason phrases, and clients as they are."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proxmoxer import ProxmoxAPI, ResourceException

from pvewatch.simulator.faults import Fault
from pvewatch.simulator.https import printable
from pvewatch.simulator.server import Options, Simulator
from tests.simulator.conftest import recorded


def connect(simulator: Simulator) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=simulator.details["ca_file"])
    return http.client.HTTPSConnection("localhost", simulator.details["port"], context=context, timeout=10)


def authorization(simulator: Simulator, name: str = "monitor") -> dict[str, str]:
    token = simulator.details["tokens"][name]
    return {"Authorization": f"PVEAPIToken={token['id']}={token['secret']}"}


def test_proxmoxer_works_on_it_unmodified(simulator: Simulator) -> None:
    token = simulator.details["tokens"]["power"]
    user, _, name = token["id"].partition("!")
    api = ProxmoxAPI(
        simulator.details["host"],
        port=simulator.details["port"],
        user=user,
        token_name=name,
        token_value=token["secret"],
        verify_ssl=simulator.details["ca_file"],
        timeout=10,
    )
    assert api.version.get()["release"] == "8.4"
    guests = api.cluster.resources.get(type="vm")
    machine = next(guest for guest in guests if guest["vmid"] == 101)
    upid = api.nodes(machine["node"]).qemu(101).status.reset.post()
    assert api.nodes(machine["node"]).tasks(upid).status.get()["upid"] == upid
    with pytest.raises(ResourceException) as refused:
        api.cluster.nosuch.get()
    assert refused.value.status_code == 501


def test_a_refused_login_has_no_body_and_no_content_type(simulator: Simulator) -> None:
    theirs = recorded("8.4", "err-bad-secret")
    connection = connect(simulator)
    connection.request("GET", "/api2/json/version", headers={"Authorization": "PVEAPIToken=pvewatch@pve!monitor=wrong"})
    answer = connection.getresponse()
    assert (answer.status, answer.reason) == (theirs.status, theirs.reason)
    assert answer.getheader("Content-Type") is None
    assert answer.read() == b""
    connection.close()


def test_a_status_that_http_does_not_know_keeps_its_reason(simulator: Simulator) -> None:
    assert simulator.cluster is not None
    with simulator.cluster.lock:
        simulator.cluster.add_fault(Fault("status", code=595, path="^/nodes/pve3/time$"))
    connection = connect(simulator)
    connection.request("GET", "/api2/json/nodes/pve3/time", headers=authorization(simulator))
    answer = connection.getresponse()
    theirs = recorded("8.4", "outage-pvedaemon-stopped-qemu-current")
    assert (answer.status, answer.reason, answer.read()) == (theirs.status, theirs.reason, b"")
    connection.close()
    with simulator.cluster.lock:
        simulator.cluster.remove_faults()


def test_head_is_not_available(simulator: Simulator) -> None:
    connection = connect(simulator)
    connection.request("HEAD", "/api2/json/version", headers=authorization(simulator))
    assert connection.getresponse().status == 501
    connection.close()


def test_one_connection_serves_many_requests(simulator: Simulator) -> None:
    connection = connect(simulator)
    seen = set()
    for path in ("version", "cluster/resources", "nosuch", "nodes"):
        connection.request("GET", f"/api2/json/{path}", headers=authorization(simulator))
        answer = connection.getresponse()
        answer.read()
        seen.add((answer.status, connection.sock.getsockname()))
    assert {status for status, _ in seen} == {200, 501}
    assert len({name for _, name in seen}) == 1
    connection.close()


def test_plain_http_is_sent_to_https(simulator: Simulator) -> None:
    plain = simulator.details["url"].replace("https", "http")
    answer = requests.get(f"{plain}/api2/json/version", allow_redirects=False, timeout=10)
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{simulator.details['url']}/api2/json/version"


def test_forms_and_json_bodies_are_both_read(session: requests.Session, simulator: Simulator) -> None:
    node = next(
        row["node"]
        for row in session.get(f"{simulator.details['url']}/api2/json/cluster/resources", timeout=10).json()["data"]
        if row["id"] == "qemu/101"
    )
    url = f"{simulator.details['url']}/api2/json/nodes/{node}/qemu/101/status/start"
    for sent in ({"data": {"skiplock": "1"}}, {"json": {"skiplock": True}}):
        refused = session.post(url, timeout=10, **sent)
        assert refused.json()["errors"] == {"skiplock": "Only root may use this option."}


def test_long_answers_are_compressed_for_who_asks(session: requests.Session, simulator: Simulator) -> None:
    url = f"{simulator.details['url']}/api2/json/cluster/resources"
    packed = session.get(url, headers={"Accept-Encoding": "gzip"}, timeout=10)
    plain = session.get(url, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert {row["id"] for row in packed.json()["data"]} == {row["id"] for row in plain.json()["data"]}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(simulator: Simulator) -> None:
    connection = connect(simulator)
    connection.putrequest("POST", "/api2/json/version")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_what_is_not_tls_and_not_http_does_not_disturb_others(simulator: Simulator, session: requests.Session) -> None:
    address = (simulator.details["host"], simulator.details["port"])
    with socket.create_connection(address, timeout=10) as broken:
        broken.sendall(b"\x16\x03\x01garbage that is no handshake" * 4)
        with socket.create_connection(address, timeout=10) as silent:
            assert session.get(f"{simulator.details['url']}/api2/json/version", timeout=10).status_code == 200
            silent.sendall(b"\x00\x01\r\n\r\n")


@settings(deadline=None)
@given(st.text())
def test_no_text_can_break_the_status_line(text: str) -> None:
    line = printable(text)
    assert line.encode("latin-1").decode("latin-1") == line
    assert not any(character in line for character in "\r\n\0")
    assert len(line) <= 512


PATHS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(
            [
                "nodes",
                "pve1",
                "cluster",
                "qemu",
                "lxc",
                "100",
                "abc",
                "status",
                "start",
                "tasks",
                "UPID:x",
                "config",
                "",
            ]
        )
        | st.text(max_size=6),
        max_size=7,
    ).map("/".join),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=PATHS,
    query=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    body=st.binary(max_size=60) | st.dictionaries(st.text(max_size=6), st.integers() | st.text(max_size=6)),
)
def test_whatever_is_asked_there_is_an_http_answer(
    simulator: Simulator, session: requests.Session, method: str, path: str, query: dict[str, str], body: object
) -> None:
    sent = {"json": body} if isinstance(body, dict) else {"data": body}
    url = f"{simulator.details['url']}/api2/json/" + requests.utils.quote(path)
    answer = session.request(method, url, params=query, timeout=10, allow_redirects=False, **sent)
    assert answer.status_code in (200, 400, 403, 500, 501, 595)
    assert answer.status_code != 200 or "data" in answer.json()
    assert "Traceback" not in answer.text


def test_the_details_are_private_and_a_restart_keeps_certificate_and_tokens(tmp_path: Path) -> None:
    def once() -> dict[str, object]:
        simulator = Simulator(Options(data=tmp_path, nodes=1, guests=1))
        simulator.start()
        try:
            assert (tmp_path / "simulator.json").stat().st_mode & 0o777 == 0o600
            assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
            return dict(json.loads((tmp_path / "simulator.json").read_text()))
        finally:
            simulator.stop()

    first, second = once(), once()
    assert not (tmp_path / "simulator.json").exists()
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600
    for key in ("fingerprint", "tokens", "control_token"):
        assert first[key] == second[key]
