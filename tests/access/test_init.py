"""`pvewatch init` against a simulated cluster over TLS: answered, given as options, mistaken, interrupted."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pvewatch.cli import cli
from pvewatch.config import load_settings
from pvewatch.simulator.server import Simulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "own"
    found.mkdir()
    return found


def address(simulator: Simulator) -> str:
    return f"{simulator.details['host']}:{simulator.details['port']}"


def options(simulator: Simulator, **changed: str) -> list[str]:
    """All answers as options; the secret comes on standard input."""
    answers = {
        "host": address(simulator),
        "name": "home",
        "token-id": simulator.details["tokens"]["monitor"]["id"],
        "token-secret-file": "-",
        "fingerprint": simulator.details["fingerprint"],
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    return [f"--{name}={value}" for name, value in answers.items() if value]


def init(folder: Path, *arguments: str, answers: str) -> Result:
    return CliRunner().invoke(cli, ["--config", str(folder / "pvewatch.yaml"), "init", *arguments], input=answers)


def secret(simulator: Simulator, name: str = "monitor") -> str:
    found: str = simulator.details["tokens"][name]["secret"]
    return found


def nothing_written(folder: Path) -> bool:
    return list(folder.rglob("*")) == []


def test_answers_lead_to_a_checked_configuration(simulator: Simulator, folder: Path) -> None:
    token = simulator.details["tokens"]["monitor"]["id"]
    result = init(folder, answers=f"{address(simulator)}\ny\n{token}\n{secret(simulator)}\nhome\n")

    assert result.exit_code == 0, result.output
    assert simulator.details["fingerprint"] in result.output
    assert "Everything needed is there." in result.output
    assert "up              starts everything" in result.output
    assert secret(simulator) not in result.output
    cluster = load_settings(folder / "pvewatch.yaml").clusters[0]
    assert (cluster.name, cluster.fingerprint) == ("home", simulator.details["fingerprint"])
    assert cluster.monitor
    assert cluster.monitor.secret.resolve().reveal() == secret(simulator)
    for file in ("pvewatch.yaml", "secrets/home-monitor"):
        assert stat.S_IMODE((folder / file).stat().st_mode) == 0o600
    assert sorted(file.name for file in folder.rglob("*")) == ["home-monitor", "pvewatch.yaml", "secrets"]


def test_a_script_gives_everything_as_options(simulator: Simulator, folder: Path) -> None:
    result = init(folder, *options(simulator), answers=secret(simulator) + "\n")

    assert result.exit_code == 0, result.output
    assert "?" not in result.output.partition("wrote")[0]


def test_the_secret_may_be_in_the_environment(
    simulator: Simulator, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", secret(simulator))

    result = init(folder, *options(simulator, token_secret_file="", token_secret_env="MINE"), answers="")

    assert result.exit_code == 0, result.output


def test_the_power_token_gets_a_file_of_its_own(simulator: Simulator, folder: Path) -> None:
    file = folder.parent / "power"
    file.write_text(secret(simulator, "power"))
    power = f"--power-token-id={simulator.details['tokens']['power']['id']}"

    result = init(
        folder, *options(simulator), power, f"--power-token-secret-file={file}", answers=secret(simulator) + "\n"
    )

    assert result.exit_code == 0, result.output
    assert "may start, shut down and reset guests on /" in result.output
    assert (folder / "secrets" / "home-power").read_text().strip() == secret(simulator, "power")


def test_a_fingerprint_that_is_not_confirmed_ends_it_before_any_token_is_asked_for(
    simulator: Simulator, folder: Path
) -> None:
    result = init(folder, answers=f"{address(simulator)}\nn\n")

    assert result.exit_code == 1
    assert "Read-only token" not in result.output
    assert nothing_written(folder)


def test_another_certificate_than_expected_is_refused(simulator: Simulator, folder: Path) -> None:
    result = init(folder, *options(simulator, fingerprint=":".join(["00"] * 32)), answers=secret(simulator) + "\n")

    assert result.exit_code == 1
    assert "another host, or somebody in between" in result.output
    assert nothing_written(folder)


def test_a_fingerprint_can_be_accepted_unseen_by_a_script_that_says_so(simulator: Simulator, folder: Path) -> None:
    result = init(folder, *options(simulator, fingerprint=""), "--accept-fingerprint", answers=secret(simulator) + "\n")

    assert result.exit_code == 0, result.output
    assert simulator.details["fingerprint"] in (folder / "pvewatch.yaml").read_text()


def test_a_host_that_does_not_answer_is_named_with_what_to_look_at(simulator: Simulator, folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{probe.getsockname()[1]}"
        result = init(folder, *options(simulator, host=closed), answers=secret(simulator) + "\n")

    assert result.exit_code == 1
    assert f"{closed} cannot be reached: Connection refused" in result.output
    assert nothing_written(folder)


@pytest.mark.parametrize("wrong", [{"token_id": "pvewatch@pve!other"}, {}])
def test_a_token_that_the_host_does_not_know_writes_nothing(
    simulator: Simulator, folder: Path, wrong: dict[str, str]
) -> None:
    given = "not-the-secret" if not wrong else secret(simulator)

    result = init(folder, *options(simulator, **wrong), answers=given + "\n")

    assert result.exit_code == 1
    assert "does not know this token" in result.output
    assert "not-the-secret" not in result.output
    assert nothing_written(folder)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "My Home"}, "use lower-case letters"),
        ({"token_id": "pvewatch"}, "is not a token id such as"),
        ({"host": "https://pve1/"}, "no https:// and no path"),
        ({"fingerprint": "AA:BB"}, "32 pairs of hex digits"),
    ],
)
def test_a_mistyped_answer_is_explained_and_writes_nothing(
    simulator: Simulator, folder: Path, changed: dict[str, str], words: str
) -> None:
    result = init(folder, *options(simulator, **changed), answers=secret(simulator) + "\n")

    assert result.exit_code in (1, 2)
    assert words in result.output
    assert nothing_written(folder)


def test_a_second_cluster_is_added_and_comments_stay(simulator: Simulator, folder: Path) -> None:
    init(folder, *options(simulator), answers=secret(simulator) + "\n")
    file = folder / "pvewatch.yaml"
    before = "# mine\n" + file.read_text() + "alerting: {time_scale: 0.5}  # hurry\n"
    file.write_text(before)

    result = init(folder, *options(simulator, name="second"), answers=secret(simulator) + "\n")

    assert result.exit_code == 0, result.output
    settings = load_settings(file)
    assert {cluster.name for cluster in settings.clusters} == {"home", "second"}
    assert settings.alerting.time_scale == 0.5
    assert "# mine" in file.read_text()
    assert "# hurry" in file.read_text()
    assert (folder / "pvewatch.yaml.bak").read_text() == before


def test_a_cluster_that_is_there_already_is_never_overwritten(simulator: Simulator, folder: Path) -> None:
    init(folder, *options(simulator), answers=secret(simulator) + "\n")
    before = (folder / "pvewatch.yaml").read_text()

    result = init(folder, *options(simulator), answers=secret(simulator) + "\n")

    assert result.exit_code == 1
    assert "has a cluster 'home' already" in result.output
    assert (folder / "pvewatch.yaml").read_text() == before
    assert not (folder / "pvewatch.yaml.bak").exists()


def test_an_older_secret_is_replaced_only_after_a_question_and_kept(simulator: Simulator, folder: Path) -> None:
    (folder / "secrets").mkdir()
    old = folder / "secrets" / "home-monitor"
    old.write_text("older\n")

    refused = init(folder, *options(simulator), answers=secret(simulator) + "\nn\n")
    assert refused.exit_code == 1
    assert old.read_text() == "older\n"
    assert not (folder / "pvewatch.yaml").exists()

    assert init(folder, *options(simulator), "--overwrite", answers=secret(simulator) + "\n").exit_code == 0
    assert old.read_text().strip() == secret(simulator)
    assert (folder / "secrets" / "home-monitor.bak").read_text() == "older\n"


def test_clusters_in_another_form_are_left_alone_and_the_lines_to_add_are_shown(
    simulator: Simulator, folder: Path
) -> None:
    file = folder / "pvewatch.yaml"
    file.write_text("clusters: [{name: old, hosts: [pve1]}]\n")

    result = init(folder, *options(simulator), answers=secret(simulator) + "\n")

    assert result.exit_code == 1
    assert "add this there by hand" in result.output
    assert yaml.safe_load(file.read_text())["clusters"][0]["name"] == "old"
    assert not (folder / "secrets" / "home-monitor").exists()


def test_a_folder_that_cannot_be_written_is_named(simulator: Simulator, folder: Path) -> None:
    (folder / "secrets").write_text("a file")

    result = init(folder, *options(simulator), answers=secret(simulator) + "\n")

    assert result.exit_code == 1
    assert "home-monitor cannot be written" in result.output
    assert not (folder / "pvewatch.yaml").exists()


class Terminal:
    """`pvewatch init` on a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            # What a shell starts in the background ignores SIGINT, and so would what it starts.
            ["env", "--default-signal=INT", sys.executable, "-m", "pvewatch.cli", "init"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.said = ""

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + 60
        while not re.search(pattern, self.said):
            assert time.monotonic() < deadline, self.said
            if select.select([self.master], [], [], 1)[0]:
                try:
                    self.said += os.read(self.master, 4096).decode()
                except OSError:  # the other side is closed
                    assert re.search(pattern, self.said), self.said

    def answer(self, pattern: str, text: str) -> None:
        self.wait_for(pattern)
        os.write(self.master, f"{text}\n".encode())

    def ends_by(self, number: signal.Signals) -> int:
        """Send the signal until it is noticed: Python misses one between its prompt and its reading of the answer."""
        for _ in range(60):
            self.process.send_signal(number)
            try:
                return self.process.wait(1)
            except subprocess.TimeoutExpired:
                continue
        raise AssertionError(f"{number.name} does not end it")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self.master)


def test_on_a_terminal_the_secret_is_not_echoed(simulator: Simulator, folder: Path) -> None:
    terminal = Terminal(folder)
    try:
        terminal.answer("Proxmox VE host", address(simulator))
        terminal.answer("Is it the same there", "y")
        terminal.answer("Read-only token", simulator.details["tokens"]["monitor"]["id"])
        terminal.answer("Secret of", secret(simulator))
        terminal.answer("Name of the cluster", "")
        terminal.wait_for("starts everything on this machine")
        assert terminal.process.wait(30) == 0
    finally:
        terminal.close()

    assert secret(simulator) not in terminal.said
    assert len(load_settings(folder / "pvewatch.yaml").clusters) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_half_way_nothing_is_left(simulator: Simulator, folder: Path, number: signal.Signals) -> None:
    terminal = Terminal(folder)
    try:
        terminal.answer("Proxmox VE host", address(simulator))
        terminal.answer("Is it the same there", "y")
        terminal.answer("Read-only token", simulator.details["tokens"]["monitor"]["id"])
        terminal.answer("Secret of", secret(simulator))
        terminal.wait_for("Name of the cluster")
        assert terminal.ends_by(number) != 0
    finally:
        terminal.close()

    assert nothing_written(folder)
