"""Every check of `demo --check` can fail: each is shown the answers of a stack in which its hop is broken."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import responses
from rich.console import Console

from pvewatch.config import Settings
from pvewatch.stack import checklist
from pvewatch.stack.agent_host import AgentGuest
from pvewatch.stack.checks import JOBS, Check, NotYet, Subject, checks
from pvewatch.stack.dashboards import NEVER_EMPTY, DashboardQueries
from pvewatch.stack.first_login import FirstLogin
from pvewatch.stack.observe import Control, Unanswered
from pvewatch.stack.processes import Processes
from pvewatch.stack.screen import Screen
from pvewatch.stack.simulated import Simulated

PROMETHEUS, ALERTMANAGER, ACTION_API = "http://127.0.0.1:9090", "http://127.0.0.1:9093", "http://127.0.0.1:9280"
CONTROL = "http://127.0.0.1:7"
GUEST = {"cluster": "demo1", "id": "qemu/101", "kind": "qemu", "vmid": "101", "name": "db1"}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


@pytest.fixture
def subject(tmp_path: Path) -> Subject:
    settings = Settings.model_validate({"data_dir": tmp_path})
    cluster = Simulated("demo1", "127.0.0.1", 8006, "", Control(CONTROL, "t"), {}, tmp_path)
    return Subject(settings, [cluster], [AgentGuest("demo1", "qemu/101")], "qemu/101", FirstLogin("admin", "p"))


def look(subject: Subject, name: str) -> str:
    return next(check for check in checks(subject) if name in check.name).look()


def prometheus(web: responses.RequestsMock, path: str, data: Any) -> None:
    web.add(responses.GET, f"{PROMETHEUS}/api/v1/{path}", json={"status": "success", "data": data})


def queries(web: responses.RequestsMock, answers: dict[str, list[tuple[dict[str, str], float]]]) -> None:
    """Prometheus answers a query with the rows of the first key that the expression contains, else with none."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        rows = next((rows for part, rows in answers.items() if part in request.params["query"]), [])
        result = [{"metric": labels, "value": [0, str(value)]} for labels, value in rows]
        return 200, {}, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

    web.add_callback(responses.GET, f"{PROMETHEUS}/api/v1/query", answer)


def target(job: str, health: str = "up", error: str = "") -> dict[str, Any]:
    return {"labels": {"job": job}, "health": health, "lastError": error}


def inside(web: responses.RequestsMock, *, alive: bool = True, boot: int = 1, status: str = "running") -> None:
    row = {"id": "qemu/101", "node": "pve1", "status": status, "alive": alive, "boot": boot}
    web.upsert(responses.GET, f"{CONTROL}/guests", json=[row])


def test_a_target_that_is_down_is_named_with_its_error(web: responses.RequestsMock, subject: Subject) -> None:
    targets = [target(job) for job in sorted(JOBS - {"pvewatch"})] + [target("pvewatch", "down", "connection refused")]
    prometheus(web, "targets", {"activeTargets": targets})

    with pytest.raises(NotYet, match="pvewatch is down connection refused"):
        look(subject, "target")


def test_a_target_that_is_not_configured_is_missed(web: responses.RequestsMock, subject: Subject) -> None:
    prometheus(web, "targets", {"activeTargets": [target(job) for job in JOBS - {"alertmanager"}]})

    with pytest.raises(NotYet, match="no target of alertmanager"):
        look(subject, "target")


def test_a_rule_that_was_not_loaded_is_named(web: responses.RequestsMock, subject: Subject) -> None:
    prometheus(web, "rules", {"groups": [{"rules": [{"name": "NodeDown", "health": "ok"}]}]})

    with pytest.raises(NotYet, match=r"not loaded: .*GuestHeartbeatMissing"):
        look(subject, "rule")


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "no result of a probe of demo1"), ([({"id": "qemu/100", "instance": "http://web/"}, 0)], "from http://web/")],
)
def test_a_probe_that_was_not_made_or_not_answered_is_missed(
    web: responses.RequestsMock, subject: Subject, rows: list[tuple[dict[str, str], float]], words: str
) -> None:
    queries(web, {"probe_success": rows})

    with pytest.raises(NotYet, match=words):
        look(subject, "probed")


def test_guests_that_prometheus_does_not_show_are_named(web: responses.RequestsMock, subject: Subject) -> None:
    inside(web)
    queries(web, {})

    with pytest.raises(NotYet, match="1 of 1 guests are missing: qemu/101"):
        look(subject, "figures of demo1")


def test_figures_that_stand_still_do_not_count_as_moving(web: responses.RequestsMock, subject: Subject) -> None:
    inside(web)
    queries(web, {"pve_guest_info": [(GUEST, 1)], "pve_cpu_usage_ratio": [(GUEST, 0.25)]})
    check = next(check for check in checks(subject) if "figures of demo1" in check.name)

    for _ in range(3):
        with pytest.raises(NotYet, match="no CPU figure has changed"):
            check.look()


def test_an_agent_without_heartbeats_is_named(web: responses.RequestsMock, subject: Subject) -> None:
    queries(web, {})

    with pytest.raises(NotYet, match="not two from demo1 qemu/101"):
        look(subject, "heartbeats of every agent")


def test_an_alert_before_anything_was_broken_is_named(web: responses.RequestsMock, subject: Subject) -> None:
    alert = {"state": "firing", "labels": {"alertname": "NodeDown", "severity": "critical", "id": "node/pve1"}}
    prometheus(web, "alerts", {"alerts": [alert]})

    with pytest.raises(NotYet, match="NodeDown node/pve1"):
        look(subject, "nothing fires")


def test_a_guest_that_goes_on_living_has_not_been_made_to_hang(web: responses.RequestsMock, subject: Subject) -> None:
    inside(web, alive=True)
    web.add(responses.POST, f"{CONTROL}/faults", status=200)

    with pytest.raises(NotYet, match="alive inside: True"):
        look(subject, "made to hang")


def test_an_alert_for_another_guest_is_not_the_one(web: responses.RequestsMock, subject: Subject) -> None:
    labels = {"alertname": "GuestHeartbeatMissing", "severity": "critical", "cluster": "demo2", "id": "qemu/101"}
    prometheus(web, "alerts", {"alerts": [{"state": "firing", "labels": labels}]})

    with pytest.raises(NotYet, match="does not fire for qemu/101"):
        look(subject, "alert fires")


def test_a_webhook_that_the_action_api_did_not_take_is_missed(web: responses.RequestsMock, subject: Subject) -> None:
    labels = {"alertname": "GuestHeartbeatMissing", "cluster": "demo1", "id": "qemu/101"}
    web.add(responses.GET, f"{ALERTMANAGER}/api/v2/alerts", json=[{"labels": labels, "status": {"state": "active"}}])
    queries(web, {})

    with pytest.raises(NotYet, match="accepted no webhook"):
        look(subject, "Alertmanager tells")


def test_a_guest_that_was_not_reset_comes_with_the_reason_of_the_policy(
    web: responses.RequestsMock, subject: Subject
) -> None:
    inside(web, alive=False, boot=1)
    queries(web, {"pvewatch_refusals_total": [({"reason": "no_quorum"}, 1)]})

    with pytest.raises(NotYet, match="not booted again; the policy refused: no_quorum"):
        look(subject, "worker resets")


def test_heartbeats_from_before_the_reset_do_not_count(web: responses.RequestsMock, subject: Subject) -> None:
    queries(web, {})

    with pytest.raises(NotYet, match="none since the reset"):
        look(subject, "heartbeats return")


@pytest.mark.parametrize("states", [{}, {"open": 1.0}, {"cleared": 1.0}, {"recovered": 1.0, "open": 1.0}])
def test_an_incident_that_did_not_end_well_is_shown(
    web: responses.RequestsMock, subject: Subject, states: dict[str, float]
) -> None:
    queries(web, {"pvewatch_incidents": [({"state": state}, value) for state, value in states.items()]})

    with pytest.raises(NotYet, match="incidents: "):
        look(subject, "incident ends")


def test_an_alert_that_alertmanager_still_holds_is_not_resolved(web: responses.RequestsMock, subject: Subject) -> None:
    labels = {"alertname": "GuestHeartbeatMissing", "cluster": "demo1", "id": "qemu/101"}
    prometheus(web, "alerts", {"alerts": []})
    web.add(responses.GET, f"{ALERTMANAGER}/api/v2/alerts", json=[{"labels": labels, "status": {"state": "active"}}])

    with pytest.raises(NotYet, match="Alertmanager still holds it"):
        look(subject, "alert is resolved")


def dashboard(subject: Subject, content: dict[str, Any]) -> None:
    folder = subject.settings.data_dir / "rendered" / "grafana" / "dashboards"
    folder.mkdir(parents=True)
    (folder / "one.json").write_text(json.dumps(content))


NEVER = {"defaults": {"noValue": NEVER_EMPTY}}


def test_a_panel_that_shows_nothing_is_named_unless_it_says_why(web: responses.RequestsMock, subject: Subject) -> None:
    expression = 'rate(nothing{cluster=~"$cluster", vmid="$guest", node="$node"}[$__rate_interval])'
    targets = [{"expr": expression}]
    inner = {"title": "Swap", "targets": targets, "fieldConfig": NEVER}
    explained = {"title": "HA", "targets": targets, "fieldConfig": {"defaults": {"noValue": "no HA here"}}}
    dashboard(subject, {"panels": [{"title": "Row", "panels": [inner, explained]}]})
    queries(web, {"pvewatch_guest_info": [(GUEST | {"node": "pve2"}, 1)]})

    with pytest.raises(NotYet, match=r"1 of 2 panels show nothing: one.json, 'Swap'"):
        look(subject, "dashboard shows")
    filled = 'rate(nothing{cluster=~"demo1", vmid="101", node="pve2"}[1m])'
    assert filled in str(web.calls[1].request.params)  # type: ignore[attr-defined]


def test_a_panel_may_have_shown_something_at_an_earlier_moment(web: responses.RequestsMock, subject: Subject) -> None:
    dashboard(subject, {"panels": [{"title": "Alerts", "targets": [{"expr": "ALERTS"}], "fieldConfig": NEVER}]})
    asked = DashboardQueries(subject.settings, "demo1", "qemu/101")

    queries(web, {"ALERTS": [(GUEST, 1)]})
    assert asked.ask() == (1, [])
    web.reset()
    queries(web, {})
    assert asked.ask() == (1, [])


def test_no_dashboard_at_all_is_not_a_success(web: responses.RequestsMock, subject: Subject) -> None:
    queries(web, {})

    with pytest.raises(NotYet, match="no query was found"):
        look(subject, "dashboard shows")


LINK = '${action_api:raw}/guests/${__data.fields["Cluster"]:percentencode}/${__data.fields.kind}/101/act/reset'
WITH_LINK = {
    "templating": {"list": [{"name": "action_api", "type": "constant", "query": ACTION_API}]},
    "links": [{"url": LINK}],
}
FILLED = f"{ACTION_API}/guests/demo1/qemu/101/act/reset"


def test_an_action_page_that_opens_for_anybody_is_refused(web: responses.RequestsMock, subject: Subject) -> None:
    dashboard(subject, WITH_LINK)
    queries(web, {"pvewatch_guest_info": [(GUEST, 1)]})
    web.add(responses.GET, FILLED, body="Reset db1 (101) of demo1?")

    with pytest.raises(NotYet, match="opens without signing in"):
        look(subject, "link")


def test_an_action_page_of_another_guest_is_refused(web: responses.RequestsMock, subject: Subject) -> None:
    dashboard(subject, WITH_LINK)
    queries(web, {"pvewatch_guest_info": [(GUEST, 1)]})
    sign_in = f"{ACTION_API}/sign-in"
    web.add(responses.GET, FILLED, status=303, headers={"Location": sign_in})
    web.add(responses.GET, FILLED, status=303, headers={"Location": sign_in})
    web.add(responses.GET, sign_in, body='<form><input type="hidden" name="form_token" value="abc"></form>')
    web.add(responses.POST, sign_in, status=303, headers={"Location": FILLED})
    web.add(responses.GET, FILLED, body="Reset web1 (100) of demo1?")

    with pytest.raises(NotYet, match="does not say db1, 101"):
        look(subject, "link")


@pytest.mark.parametrize("answer", [(500, "oops"), (200, "no json")])
def test_a_part_that_answers_nonsense_is_no_success(
    web: responses.RequestsMock, subject: Subject, answer: tuple[int, str]
) -> None:
    web.add(responses.GET, f"{PROMETHEUS}/api/v1/targets", status=answer[0], body=answer[1])

    with pytest.raises(Unanswered, match=r"127\.0\.0\.1:9090"):
        look(subject, "target")


def test_the_list_ends_at_the_first_failure_and_shows_the_end_of_the_log(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise NotYet("the exporter is silent")

    listed = [
        Check("the first", lambda: "seen", 1),
        Check("the second", fail, 0.2, ("exporter",)),
        Check("the third", lambda: "never asked", 1),
    ]
    monkeypatch.setattr(checklist, "checks", lambda _subject: listed)
    processes = Processes(tmp_path / "logs", threading.Event())
    processes.log("exporter").write_text("could not bind\n")
    shown = io.StringIO()

    results = checklist.prove(subject, processes, Screen(Console(file=shown, width=200)))

    assert [(result.name, result.ok) for result in results] == [("the first", True), ("the second", False)]
    assert "✓ the first: seen" in shown.getvalue()
    assert "✗ the second: the exporter is silent" in shown.getvalue()
    assert "could not bind" in capsys.readouterr().err
