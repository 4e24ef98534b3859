"""Maintenance before a real cluster of two Alertmanagers, of which one may be away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from action_api.maintenance_cli import maintenance
from action_api.store import Store
from pvewatch.config import Settings
from pvewatch.stack.ports import free_port
from tests.action_api.web.site import settings_for
from tests.rules.servers import alertmanager, wait_until


@dataclass
class Pair:
    """Two members of one cluster, by their addresses; each runs while its block does."""

    folder: Path
    first: str
    second: str
    talk: tuple[str, str]

    @contextmanager
    def running(self, number: int) -> Iterator[None]:
        config = self.folder / "alertmanager.yml"
        config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        mine, other = self.talk[number], self.talk[1 - number]
        flags = [f"--cluster.listen-address={mine}", f"--cluster.peer={other}", "--cluster.reconnect-interval=1s"]
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        with alertmanager(config, folder / "data", *flags, url=(self.first, self.second)[number]):
            yield

    def settings(self) -> Settings:
        return settings_for(self.folder, self.first, self.second)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    first, second, one, other = (f"127.0.0.1:{free_port()}" for _ in range(4))
    return Pair(tmp_path, f"http://{first}", f"http://{second}", (one, other))


def run(pair: Pair, *arguments: str) -> Result:
    @dataclass
    class Source:
        def load(self) -> Settings:
            return pair.settings()

    return CliRunner().invoke(maintenance, arguments, obj=Source())


def silences(url: str) -> list[str]:
    known = requests.get(f"{url}/api/v2/silences", timeout=10).json()
    return [silence["id"] for silence in known if silence["status"]["state"] != "expired"]


def test_a_silence_made_while_one_was_away_is_known_to_it_when_it_is_back(pair: Pair, store: Store) -> None:
    with pair.running(1), ExitStack() as later:
        done = run(pair, "start", "alpha", "--guest", "100", "--for", "2h", "--comment", "moving its disks")
        assert done.exit_code == 0, done.output
        assert silences(pair.second) == [done.stdout.strip()]
        later.enter_context(pair.running(0))
        wait_until(lambda: silences(pair.first) == silences(pair.second), "the first to learn of the silence")
        # Now the first answers, and it ends for both.
        assert run(pair, "end", done.stdout.strip()).exit_code == 0
        wait_until(lambda: silences(pair.second) == [], "the second to learn that it has ended")
        assert json.loads(run(pair, "list", "--json").stdout) == []
