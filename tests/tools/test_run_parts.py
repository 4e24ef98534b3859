"""`make test` itself: what it prints, and that it cannot pass by not looking."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/run_parts.py, working in an empty folder, outside of a CI server."""
    spec = importlib.util.spec_from_file_location("run_parts", ROOT / "tools" / "run_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name.
    monkeypatch.setitem(sys.modules, "run_parts", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(module, "IN_CI", False)
    monkeypatch.setattr(sys, "argv", ["run_parts.py"])
    return module


def use(runner: ModuleType, monkeypatch: pytest.MonkeyPatch, *parts: object) -> None:
    monkeypatch.setattr(runner, "all_parts", lambda: list(parts))


def says(text: str, status: int = 0) -> tuple[str, ...]:
    return (sys.executable, "-c", f"print({text!r}); raise SystemExit({status})")


def test_each_part_is_one_line_and_the_last_line_counts_all(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(
        runner,
        monkeypatch,
        runner.Part("ruff", says("fine")),
        runner.Part("tests/unit", says("31 passed, 2 deselected in 1.20s"), tests=True),
    )

    assert runner.main() == 0

    *lines, _, last = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line for line in lines}
    assert sorted(found) == ["ruff", "tests/unit"]  # whichever ends first is told first
    assert found["tests/unit"].endswith("31 passed, 2 deselected in 1.20s")
    assert last == "32 passed, 0 failed"


def test_a_failing_part_fails_the_run_and_shows_the_end_of_its_log(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(
        runner,
        monkeypatch,
        runner.Part("mypy", says("error: here", status=1)),
        runner.Part("tests/unit", says("2 failed, 3 passed, 1 error in 0.10s", status=1), tests=True),
    )

    assert runner.main() == 1

    output = capsys.readouterr().out
    assert "    error: here" in output
    assert "failed: mypy, tests/unit" in output
    assert output.splitlines()[-1] == "3 passed, 4 failed"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("no tests ran in 0.01s", 5),
        ("7 deselected in 0.01s", 5),
        ("Segmentation fault", -11 & 0xFF),
        ("3 passed in 0.10s", 1),
    ],
)
def test_a_test_part_that_ran_nothing_or_broke_off_is_a_failure(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, text: str, status: int
) -> None:
    use(runner, monkeypatch, runner.Part("tests/unit", says(text, status), tests=True))

    assert runner.main() == 1


def test_a_part_that_needs_root_is_named_as_not_run(
    runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(runner, monkeypatch, runner.Part("docker", says("never"), tests=True, unmet=lambda: "needs root: sudo .ci/run"))

    assert runner.main() == 0

    assert "not run: needs root: sudo .ci/run" in capsys.readouterr().out


def test_in_ci_a_part_that_cannot_run_is_a_failure(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IN_CI", True)
    use(runner, monkeypatch, runner.Part("docker", says("never"), tests=True, unmet=lambda: "needs root"))

    assert runner.main() == 1


def test_in_ci_a_skipped_test_is_a_failure(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    part = runner.Part("browser", says("4 passed, 1 skipped in 3.00s"), tests=True)
    use(runner, monkeypatch, part)
    assert runner.main() == 0

    monkeypatch.setattr(runner, "IN_CI", True)
    assert runner.main() == 1


def test_a_part_that_never_ends_is_ended(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PART_TIMEOUT_SECONDS", 0.5)
    use(runner, monkeypatch, runner.Part("stuck", (sys.executable, "-c", "import time; time.sleep(60)")))

    assert runner.main() == 1


def test_a_word_that_names_no_part_is_an_error(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_parts.py", "nosuch"])
    use(runner, monkeypatch, runner.Part("ruff", says("fine")))

    assert runner.main() == 2


def test_every_folder_of_tests_is_a_part(runner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ROOT", ROOT)
    areas = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}

    named = {part.name.removeprefix("tests/") for part in runner.all_parts()}

    assert areas <= named
    assert {"ruff", "mypy", "imports", "shellcheck", "yamllint", "promtool", "amtool", "docker"} <= named
