"""Watching services and starting them again: what is decided, with the system's own tools replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.linux_agent import call

# A system whose service `web` is in the state that a file holds, and whose clock is the variable UP.
SYSTEM = """
WATCH_FOLDER=$FOLDER; make_folder() { :; }; pause() { :; }; remember_uuid() { :; }
uptime_seconds() { printf '%d' "$UP"; }; now() { printf '%d.5' "$UP"; }
service_state() { cat "$FOLDER/state-of-$1"; }
restart_service() { echo "restart $1"; echo "${AFTER:-running}" >"$FOLDER/state-of-$1"; }
complain() { echo "said: $*"; }
fails() { echo failed >"$FOLDER/state-of-$1"; }
PVEWATCH_SERVICES=web PVEWATCH_RESTART_SERVICES=web PVEWATCH_RESTART_LIMIT=2 PVEWATCH_RESTART_WINDOW=600
UP=1000
settle_services
"""


def on_a_system(tmp_path: Path, script: str) -> list[str]:
    """What a script prints that drives the watcher."""
    return call(SYSTEM + script, FOLDER=tmp_path).splitlines()


def written(tmp_path: Path, name: str) -> str:
    return (tmp_path / name).read_text(encoding="utf-8").rstrip("\n")


def test_a_failed_service_is_started_again_and_told(tmp_path: Path) -> None:
    said = on_a_system(tmp_path, "fails web; watch_pass")
    assert said == ["said: web has failed: restart 1 of at most 2 within 600 s", "restart web"]
    assert written(tmp_path, "services") == "1000\nweb running 1"
    assert written(tmp_path, "last_repair") == "1000.5 web succeeded"
    assert not (tmp_path / "lock").is_symlink()


@pytest.mark.parametrize("state", ["running", "stopped", "starting", "stopping", "missing", "unknown"])
def test_only_a_failed_service_is_started_again(tmp_path: Path, state: str) -> None:
    """What a person stopped stays stopped."""
    assert on_a_system(tmp_path, f"echo {state} >$FOLDER/state-of-web; watch_pass") == []
    assert written(tmp_path, "services") == f"1000\nweb {state} 0"


def test_a_failed_service_that_may_only_be_reported_is_left_alone(tmp_path: Path) -> None:
    assert on_a_system(tmp_path, "RESTART_SERVICES=(); fails web; watch_pass") == []
    assert written(tmp_path, "services") == "1000\nweb failed 0"


def test_a_service_that_does_not_stay_up_is_told_as_not_repaired(tmp_path: Path) -> None:
    on_a_system(tmp_path, "AFTER=failed; fails web; watch_pass")
    assert written(tmp_path, "last_repair") == "1000.5 web failed"
    assert written(tmp_path, "services") == "1000\nweb failed 1"


def test_after_the_limit_it_is_given_up_once_and_taken_up_again_after_the_window(tmp_path: Path) -> None:
    said = on_a_system(tmp_path, 'for UP in {1000..1100..20}; do fails web; watch_pass; done; echo "--"; cat $FOLDER/*')
    before = said[: said.index("--")]
    assert before.count("restart web") == 2
    assert [line for line in before if "left alone" in line] == [
        "said: web has failed again after 2 restarts within 600 s: it is left alone now"
    ]
    assert written(tmp_path, "last_repair") == "1040.5 web given_up"
    assert written(tmp_path, "services") == "1100\nweb failed 2"

    # Still within the window of the second restart, then beyond it.
    assert "restart web" in on_a_system(tmp_path, "UP=1601; fails web; watch_pass")
    assert written(tmp_path, "services") == "1601\nweb running 3"
    # What the window has left behind is forgotten: the file does not grow.
    assert [line.split()[0] for line in written(tmp_path, "repairs").splitlines()] == ["1020", "1040", "1601"]


def test_a_pass_that_is_still_going_on_is_not_disturbed(tmp_path: Path) -> None:
    (tmp_path / "proc" / "1").mkdir(parents=True)
    (tmp_path / "proc" / "1" / "cmdline").write_bytes(b"bash\0/usr/local/bin/pvewatch-agent\0watch-once\0")
    (tmp_path / "lock").symlink_to("1")
    assert on_a_system(tmp_path, "PROC=$FOLDER/proc; fails web; watch_pass || echo busy") == ["busy"]
    assert not (tmp_path / "services").exists()


def test_a_lock_whose_process_is_gone_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("1")
    said = on_a_system(tmp_path, "PROC=$FOLDER/proc; fails web; watch_pass")
    assert "restart web" in said


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        ("LoadState=loaded\nActiveState=active", "running"),
        ("LoadState=loaded\nActiveState=reloading", "running"),
        ("LoadState=loaded\nActiveState=activating", "starting"),
        ("LoadState=loaded\nActiveState=deactivating", "stopping"),
        ("LoadState=loaded\nActiveState=inactive", "stopped"),
        ("LoadState=loaded\nActiveState=failed", "failed"),
        ("LoadState=not-found\nActiveState=inactive", "missing"),
        ("", "unknown"),
    ],
)
def test_systemds_words_for_a_service(shown: str, state: str) -> None:
    assert call('timeout() { echo "$SHOWN"; }; systemd_state web', SHOWN=shown) == state


@pytest.mark.parametrize(
    ("status", "state"),
    [(0, "running"), (1, "failed"), (2, "failed"), (3, "stopped"), (4, "unknown"), (8, "starting"), (32, "failed")],
)
def test_what_an_init_scripts_status_means(status: int, state: str) -> None:
    assert call(f"init_state {status}") == state


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("PVEWATCH_SERVICES='web; reboot'", "SERVICES: web; is not"),
        ("PVEWATCH_SERVICES='--help'", "SERVICES: --help is not"),
        ("PVEWATCH_SERVICES=web PVEWATCH_RESTART_SERVICES=db", "RESTART_SERVICES: db is not in SERVICES"),
        ("PVEWATCH_RESTART_LIMIT=0", "RESTART_LIMIT: 0"),
        ("PVEWATCH_RESTART_WINDOW=59", "RESTART_WINDOW: 59"),
    ],
)
def test_a_wrong_choice_of_services_is_named(settings: str, named: str) -> None:
    assert named in call(f"{settings}; (settle_services) 2>&1 || echo refused $?")
