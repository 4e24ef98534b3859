#!/usr/bin/env python3
"""Runs the parts of `make test`, three at a time, and prints one line for each with what it found and how long it took.

    tools/run_parts.py             everything
    tools/run_parts.py --lint      only the checks that run no test
    tools/run_parts.py ruff unit   the parts whose name contains one of the words

A part writes to .cache/test-logs/<part>.log; the end of it is shown when the part fails. A part that needs what this
machine lacks is reported as not run, with the remedy. With CI=true that is a failure, and so is a skipped test.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".cache" / "test-logs"
BIN = ROOT / ".venv" / "bin"
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
TAIL_LINES = 60
PART_TIMEOUT_SECONDS = 780
# They wait for processes, containers and clocks more than they compute: on two cores three at once take the least time.
TOGETHER = 3
NO_TESTS_COLLECTED = 5  # pytest's exit status

# Tests that carry one of these marks are parts of their own.
MARKS = ("e2e", "browser", "docker", "root")
# Areas whose tests take minutes.
LONG = ("action_api", "exporter", "notify")
SELECTED_ELSEWHERE = " and ".join(f"not {mark}" for mark in MARKS)


@dataclass(frozen=True, slots=True)
class Part:
    """One line of `make test`."""

    name: str
    command: tuple[str, ...]
    tests: bool = False
    # What is wrong with this machine and how to mend it, or None.
    unmet: Callable[[], str | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a part ended; `passed` and `failed` count its tests, or the part itself where it has none."""

    part: Part
    words: str
    seconds: float
    passed: int = 0
    failed: int = 0


def main() -> int:
    """Run the chosen parts; returns 0 only if nothing failed."""
    parser = argparse.ArgumentParser(description="Run the parts of the test suite.")
    parser.add_argument("words", nargs="*", help="run only the parts whose name contains one of these words")
    parser.add_argument("--lint", action="store_true", help="run only the checks that run no test")
    parser.add_argument("--list", action="store_true", help="name the parts and stop")
    options = parser.parse_args()
    parts = [
        part
        for part in all_parts()
        if not (options.lint and part.tests) and (not options.words or any(w in part.name for w in options.words))
    ]
    if options.list:
        print("\n".join(part.name for part in parts))
        return 0
    if not parts:
        print(f"no part has a name with {' or '.join(options.words)}: see --list", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=TOGETHER) as together:
        running = [together.submit(run, part) for part in parts]
        outcomes = list(_reported(done.result() for done in as_completed(running)))
    outcomes.sort(key=lambda outcome: parts.index(outcome.part))
    failed = [outcome for outcome in outcomes if outcome.failed]
    print(f"{len(outcomes)} parts in {_duration(time.monotonic() - started)}", end="")
    print(f"; failed: {', '.join(outcome.part.name for outcome in failed)}" if failed else "")
    # Alone on its line and in these words: CI servers read it.
    print(f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed")
    return 1 if failed else 0


def all_parts() -> list[Part]:
    """Every part, in the order in which they are started: the long ones early."""
    python = str(BIN / "python")
    pytest = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15")
    folders = {folder for folder in (ROOT / "tests").iterdir() if folder.is_dir() and any(folder.rglob("test_*.py"))}
    areas = sorted((folder.name for folder in folders), key=lambda name: (name not in LONG, name))
    return [
        Part("mypy", ("sh", "-c", f"'{BIN}/mypy' && '{BIN}/mypy' tools")),
        Part("ruff", ("sh", "-c", f"'{BIN}/ruff' check . && '{BIN}/ruff' format --check .")),
        Part("imports", (str(BIN / "lint-imports"), "--no-cache")),
        Part("shellcheck", (str(BIN / "shellcheck"), *_shell_scripts())),
        Part("yamllint", (str(BIN / "yamllint"), "--strict", ".")),
        Part("promtool", (python, "tools/check_rendered.py", "promtool")),
        Part("amtool", (python, "tools/check_rendered.py", "amtool")),
        Part("docker", (*pytest, "-m", "docker", "tests"), tests=True, unmet=_no_docker),
        Part("minimal-debian", (*pytest, "-m", "root", "tests"), tests=True, unmet=_no_root),
        Part("e2e", (*pytest, "-m", "e2e and not browser and not docker", "tests"), tests=True),
        *(
            Part(f"tests/{area}", (*pytest, "-m", SELECTED_ELSEWHERE, f"tests/{area}"), tests=True)
            for area in areas
            if area not in MARKS
        ),
        Part("tests", (*pytest, "-m", SELECTED_ELSEWHERE, *_top_level_tests()), tests=True),
        Part("browser", (*pytest, "-m", "browser", "tests"), tests=True, unmet=_no_browser),
    ]


def run(part: Part) -> Outcome:
    """Run one part, its output going to its log."""
    if reason := part.unmet():
        return Outcome(part, f"not run: {reason}", 0.0, failed=1 if IN_CI else 0)
    log = LOGS / f"{part.name.replace('/', '-')}.log"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        try:
            status = subprocess.run(
                part.command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PART_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
            output.write(f"\nended after {PART_TIMEOUT_SECONDS} s without finishing\n")
        except OSError as error:
            status = -1
            output.write(f"{error}\n")
    seconds = time.monotonic() - started
    if not part.tests:
        words = "ok" if status == 0 else f"FAILED, see {log.relative_to(ROOT)}"
        return Outcome(part, words, seconds, passed=int(status == 0), failed=int(status != 0))
    return _count_tests(part, status, log, seconds)


def _count_tests(part: Part, status: int, log: Path, seconds: float) -> Outcome:
    """Read pytest's last line, such as '2 failed, 31 passed, 1 skipped in 4.20s'."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    summary = next((line.strip("= ") for line in reversed(lines) if re.search(r" in [\d.]+s", line)), "no summary")
    counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error|skipped)", summary)}
    failed = counted.get("failed", 0) + counted.get("error", 0)
    if status == NO_TESTS_COLLECTED:
        failed, summary = 1, f"no test found: {summary}"
    elif status and not failed:
        failed = 1
    if IN_CI and (skipped := counted.get("skipped", 0)):
        failed, summary = failed + skipped, f"{summary}: a skipped test is a failure here"
    words = f"FAILED: {summary}, see {log.relative_to(ROOT)}" if failed else summary
    return Outcome(part, words, seconds, passed=counted.get("passed", 0), failed=failed)


def _reported(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    for outcome in outcomes:
        print(f"{outcome.part.name:18} {_duration(outcome.seconds):>7}  {outcome.words}", flush=True)
        if outcome.failed and not outcome.words.startswith("not run"):
            log = LOGS / f"{outcome.part.name.replace('/', '-')}.log"
            for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]:
                print(f"    {line}", flush=True)
        yield outcome


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"


def _shell_scripts() -> tuple[str, ...]:
    """The files git knows that are shell: by their name or by their first line."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    return tuple(name for name in listing.splitlines() if _is_shell(ROOT / name))


def _is_shell(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(80)
    return path.suffix in {".sh", ".bash"} or re.match(rb"#!.*\b(ba|da)?sh\b", first) is not None


def _top_level_tests() -> tuple[str, ...]:
    return tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("test_*.py")))


def _no_browser() -> str | None:
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return None
    return "no Chromium on PATH: apt-get install chromium (needs root)"


def _no_root() -> str | None:
    if os.geteuid() != 0:
        return "making another Debian to run in needs root: sudo .ci/run"
    return None if shutil.which("mmdebstrap") else "mmdebstrap missing: apt-get install mmdebstrap"


def _no_docker() -> str | None:
    if os.geteuid() != 0:
        return "starting a Docker daemon needs root: sudo .ci/run"
    absent = [name for name in ("dockerd", "docker", "mmdebstrap") if not shutil.which(name)]
    return f"{', '.join(absent)} missing: apt-get install docker.io mmdebstrap" if absent else None


if __name__ == "__main__":
    sys.exit(main())
