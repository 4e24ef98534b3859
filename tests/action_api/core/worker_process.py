"""A real worker process for tests that kill it: `python worker_process.py CONFIG [before-call|after-call|none]`.

It runs the shipped worker; only the moment of its sudden death is chosen.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from action_api.worker import run
from pvewatch.config import load_settings
from pvewatch.logging import configure
from pvewatch.pve.client import PveClient
from tests.action_api.core.conftest import QUICK

ask = PveClient.guest_action


def die() -> None:
    """As a power cut: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def dying_before(client: PveClient, *args: Any, **kwargs: Any) -> str:
    """The intent is on disk; PVE is never asked."""
    die()
    return ask(client, *args, **kwargs)


def dying_after(client: PveClient, *args: Any, **kwargs: Any) -> str:
    """PVE has been asked and has answered; the answer is lost."""
    answer = ask(client, *args, **kwargs)
    die()
    return answer


if __name__ == "__main__":
    configure("info", "text")
    chosen = {"before-call": dying_before, "after-call": dying_after, "none": ask}[sys.argv[2]]
    PveClient.guest_action = chosen  # type: ignore[method-assign,assignment]  # the one place at which the process is to die
    run(load_settings(Path(sys.argv[1])), timing=QUICK)
