"""A simulated cluster over TLS, and `pvewatch init` asked about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pvewatch.simulator.server import Options, Simulator


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    running = Simulator(Options(data=tmp_path / "simulator", auth_delay_seconds=0))
    running.start()
    yield running
    running.stop()
