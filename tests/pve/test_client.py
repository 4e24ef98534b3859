"""The client against a real TLS server: trust, failover, what is never repeated, and every recorded error."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from pathlib import Path

import pytest

from pvewatch.config import HostPort, TokenRef
from pvewatch.pve import client as client_module
from pvewatch.pve.client import PveClient, was_never_sent
from pvewatch.pve.errors import AuthFailed, BadAnswer, Forbidden, NotFound, PveError, Rejected, Unreachable
from tests.pve.conftest import SECRET, Answer, FakeHost, cluster_of, make_certificate


def free_port() -> HostPort:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return HostPort(host="127.0.0.1", port=probe.getsockname()[1])


def test_the_pinned_certificate_is_enough_to_trust_a_self_signed_host(host: FakeHost, token: TokenRef) -> None:
    with PveClient(cluster_of(host, fingerprint=host.fingerprint), token) as pve:
        assert pve.version().version == "8.4.21"
    assert host.asked == [("GET", "/version", f"PVEAPIToken=pvewatch@pve!monitor={SECRET}")]


def test_another_certificate_than_the_pinned_one_never_sees_the_token(
    host: FakeHost, token: TokenRef, tmp_path: Path
) -> None:
    _, _, other = make_certificate(tmp_path / "other")
    with (
        PveClient(cluster_of(host, fingerprint=other), token) as pve,
        pytest.raises(Unreachable, match="not the one whose fingerprint is configured"),
    ):
        pve.version()
    assert host.asked == []


def test_a_ca_file_is_trusted_and_an_unknown_certificate_is_not(host: FakeHost, token: TokenRef) -> None:
    with PveClient(cluster_of(host, ca_file=host.cert_file), token) as pve:
        assert pve.version().release == "8.4"
    with (
        PveClient(cluster_of(host, verify_tls=True), token) as pve,
        pytest.raises(Unreachable, match="configure fingerprint or ca_file"),
    ):
        pve.version()


def test_connections_are_kept(host: FakeHost, token: TokenRef) -> None:
    with PveClient(cluster_of(host), token) as pve:
        for _ in range(5):
            pve.version()
    assert host.connections == 1


def test_the_next_host_is_asked_in_the_same_call_when_one_is_gone(host: FakeHost, token: TokenRef) -> None:
    with PveClient(cluster_of(free_port(), host), token) as pve:
        assert pve.version().version == "8.4.21"
        pve.version()
    assert len(host.asked) == 2


def test_a_bad_host_rests_and_is_asked_again_when_no_other_answers(
    host: FakeHost, second_host: FakeHost, token: TokenRef
) -> None:
    host.answer = lambda _method, _path: Answer(drop=True)
    with PveClient(cluster_of(host, second_host), token) as pve:
        for _ in range(3):
            pve.version()
        assert len(host.asked) == 1
        second_host.answer = lambda _method, _path: Answer(drop=True)
        host.answer = lambda _method, _path: Answer()
        assert pve.version().version == "8.4.21"


def test_an_action_whose_answer_was_lost_is_not_sent_to_another_host(
    host: FakeHost, second_host: FakeHost, token: TokenRef
) -> None:
    host.answer = lambda _method, _path: Answer(drop=True)
    with PveClient(cluster_of(host, second_host), token) as pve, pytest.raises(Unreachable) as caught:
        pve.guest_action("pve1", "qemu", 100, "reset")
    assert not was_never_sent(caught.value)
    assert [method for method, _, _ in host.asked] == ["POST"]
    assert second_host.asked == []


def test_an_action_whose_answer_could_not_be_decrypted_is_not_sent_to_another_host(
    host: FakeHost, second_host: FakeHost, token: TokenRef
) -> None:
    host.answer = lambda _method, _path: Answer(garble=True)
    with PveClient(cluster_of(host, second_host), token) as pve, pytest.raises(Unreachable) as caught:
        pve.guest_action("pve1", "qemu", 100, "reset")
    assert [method for method, _, _ in host.asked] == ["POST"]
    assert second_host.asked == []
    assert not was_never_sent(caught.value)
    assert "certificate" not in str(caught.value)


def test_an_action_goes_to_the_other_host_when_the_certificate_of_the_first_is_not_trusted(
    host: FakeHost, second_host: FakeHost, token: TokenRef
) -> None:
    second_host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/life-qemu-reset.json")
    for trust in ({"fingerprint": second_host.fingerprint}, {"ca_file": second_host.cert_file}):
        with PveClient(cluster_of(host, second_host, **trust), token) as pve:
            assert pve.guest_action("pve1", "qemu", 100, "reset").startswith("UPID:pve1:")
    assert host.asked == []


def test_an_action_goes_to_the_other_host_when_the_first_refuses_the_connection(
    host: FakeHost, token: TokenRef
) -> None:
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/life-qemu-reset.json")
    with PveClient(cluster_of(free_port(), host), token) as pve:
        assert pve.guest_action("pve1", "qemu", 100, "reset").startswith("UPID:pve1:")
    with PveClient(cluster_of(free_port()), token) as pve, pytest.raises(Unreachable) as caught:
        pve.guest_action("pve1", "qemu", 100, "reset")
    assert was_never_sent(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("err-no-auth", AuthFailed, "No ticket"),
        ("err-bad-secret", AuthFailed, ""),
        ("err-expired-token", AuthFailed, ""),
        ("err-forbidden-start-auditor", Forbidden, "VM.PowerMgmt"),
        ("err-unknown-vmid-current", NotFound, "777.conf"),
        ("err-unknown-path", Rejected, "not implemented"),
        ("err-vmid-not-int", Rejected, "vmid"),
        ("life-lxc-start-already-running", Rejected, "already running"),
        ("noquorum-qemu-start-101-stopped", Rejected, "no quorum"),
        ("outage-pvedaemon-stopped-qemu-current", Unreachable, "595"),
        ("outage-pmxcfs-stopped-version", Unreachable, "RPCEnvironment"),
    ],
)
def test_every_recorded_error_becomes_one_class_and_keeps_the_servers_words(
    host: FakeHost, token: TokenRef, name: str, kind: type[PveError], words: str
) -> None:
    host.answer = lambda _method, _path: Answer.recorded(f"recorded-8.4/{name}.json")
    with PveClient(cluster_of(host), token) as pve, pytest.raises(PveError) as caught:
        pve.guest_status("pve1", "qemu", 777)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_a_refusal_names_path_and_privilege(host: FakeHost, token: TokenRef) -> None:
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/as-privsep-noacl-node-status.json")
    with PveClient(cluster_of(host), token) as pve, pytest.raises(Forbidden) as caught:
        pve.node_status("pve1")
    assert (caught.value.missing_path, caught.value.privilege) == ("/nodes/pve1", "Sys.Audit")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"data":', b'{"data":"text"}', b"\xff\xfe", b'{"data":' + b"[" * 100_000]
)
def test_garbage_with_status_200_is_a_bad_answer(host: FakeHost, token: TokenRef, body: bytes) -> None:
    host.answer = lambda _method, _path: Answer(body=body)
    with PveClient(cluster_of(host), token) as pve, pytest.raises(BadAnswer):
        pve.cluster_resources()


def test_half_a_surrogate_pair_in_one_name_does_not_hide_the_others(host: FakeHost, token: TokenRef) -> None:
    rows = [{"type": "qemu", "vmid": vmid, "node": "pve1", "name": f"vm-{vmid}\ud83d"} for vmid in (100, 101)]
    host.answer = lambda _method, _path: Answer(body=json.dumps({"data": rows}).encode())
    with PveClient(cluster_of(host), token) as pve:
        assert [guest.name for guest in pve.cluster_resources().guests] == ["vm-100?", "vm-101?"]


@pytest.mark.parametrize("body", [b'{"data": "%s"}', b"<html>%s", b"[%s"], ids=["wrong shape", "no JSON", "cut off"])
def test_a_refused_answer_of_megabytes_is_not_kept_by_its_error(host: FakeHost, token: TokenRef, body: bytes) -> None:
    large = Answer(body=body % (b"x" * 2_000_000))
    host.answer = lambda _method, _path: large
    with PveClient(cluster_of(host), token) as pve, pytest.raises(BadAnswer) as refused:
        pve.version()
    error: BaseException | None = refused.value
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            ours = {} if frame.f_code.co_filename == __file__ else frame.f_locals
            held = [name for name, value in ours.items() if len(repr(value)) > 1_000_000]
            assert held == [], f"{frame.f_code.co_qualname} of {type(error).__name__}"
        error = error.__cause__ or error.__context__


def test_an_endless_answer_is_cut_off(host: FakeHost, token: TokenRef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pvewatch.pve.transport.MAX_ANSWER_BYTES", 1000)
    host.answer = lambda _method, _path: Answer(body=b" " * 1_000_000)
    with PveClient(cluster_of(host), token) as pve, pytest.raises(BadAnswer, match="more than 1000 bytes"):
        pve.version()


@pytest.mark.timeout(30)
def test_an_answer_that_drips_in_is_given_up(host: FakeHost, token: TokenRef) -> None:
    host.answer = lambda _method, _path: Answer(drips=True)
    with (
        PveClient(cluster_of(host), token, read_timeout=0.5) as pve,
        pytest.raises(BadAnswer, match="or 1 s"),
    ):
        pve.version()


def test_a_redirect_is_not_followed(host: FakeHost, second_host: FakeHost, token: TokenRef) -> None:
    target = f"https://{second_host.address}/api2/json/version"
    host.answer = lambda _method, _path: Answer(status=301, reason="Moved", headers={"Location": target})
    with PveClient(cluster_of(host), token) as pve, pytest.raises(BadAnswer):
        pve.version()
    assert second_host.asked == []


def test_the_observer_sees_templates_never_the_path_of_a_guest(host: FakeHost, token: TokenRef) -> None:
    seen: list[tuple[str, str]] = []
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/err-unknown-vmid-current.json")
    observe = lambda _host, endpoint, outcome, _seconds: seen.append((endpoint, outcome))  # noqa: E731  a one-line note
    with PveClient(cluster_of(host), token, observe=observe) as pve, pytest.raises(NotFound):
        pve.guest_status("pve1", "qemu", 777)
    assert seen == [("/nodes/{node}/{kind}/{vmid}/status/current", "not_found")]


def test_a_task_is_asked_of_its_own_node_and_its_id_is_encoded(host: FakeHost, token: TokenRef) -> None:
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/life-qemu-reset.task-status.json")
    with PveClient(cluster_of(host), token) as pve:
        task = pve.task_status("UPID:pve1:0000061C:000389D1:6B016280:qmreset:100:root@pam!mon:")
        assert task.ok
        with pytest.raises(NotFound):
            pve.task_status("../../access/users")
    assert host.asked[0][1].startswith("/nodes/pve1/tasks/UPID%3Apve1%3A")
    assert len(host.asked) == 1


def test_names_in_paths_cannot_leave_their_place(host: FakeHost, token: TokenRef) -> None:
    with PveClient(cluster_of(host), token) as pve:
        pve.node_status("../access/users?x=")
    assert [path for _, path, _ in host.asked] == ["/nodes/..%2Faccess%2Fusers%3Fx%3D/status"]


def test_no_log_line_holds_the_secret(host: FakeHost, token: TokenRef, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    host.answer = lambda _method, _path: Answer.recorded("recorded-8.4/err-bad-secret.json")
    with PveClient(cluster_of(free_port(), host), token) as pve, pytest.raises(AuthFailed):
        pve.version()
    assert SECRET not in caplog.text
    assert SECRET not in repr(vars(pve))


def test_timeouts_outlast_the_servers_own_595() -> None:
    assert client_module.READ_TIMEOUT_SECONDS > 30
