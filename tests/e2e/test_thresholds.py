"""A threshold set at run time reaches the rules: real Prometheus, the shipped recording rules, the action API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from action_api.app import create_app
from action_api.store import open_store
from action_api.thresholds_cli import threshold
from pvewatch.bundle import bundle_path
from pvewatch.config import Settings
from pvewatch.inventory import Inventory, InventoryUnavailable
from pvewatch.serve import serve
from pvewatch.stack.observe import Prometheus
from tests.action_api.web.site import settings_for
from tests.rules.servers import prometheus, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CONFIGURED = b'pvewatch_threshold{cluster="alpha",id="qemu/100",figure="guest_memory_ratio"} 0.95\n'
KEY = ("alpha", "qemu/100", "guest_memory_ratio")


class NoInventory:
    """The page for Prometheus needs no exporter."""

    def fetch(self) -> Inventory:
        raise InventoryUnavailable("not needed here")


class Source:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def load(self) -> Settings:
        return self._settings


@contextmanager
def exporter() -> Iterator[str]:
    """What the exporter says of one guest's threshold."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(CONFIGURED)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_is_set_counts_until_it_is_cleared_or_the_action_api_is_away(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    store = open_store(settings.database_url)
    actions = serve(create_app(settings, store, NoInventory()), "127.0.0.1:0").start()
    with exporter() as configured:
        targets = {"pvewatch": configured, "pvewatch-action-api": f"127.0.0.1:{actions.address[1]}"}
        config = tmp_path / "prometheus.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(bundle_path("prometheus/rules") / "records.yml")],
                    "scrape_configs": [
                        {"job_name": job, "static_configs": [{"targets": [address]}]}
                        for job, address in targets.items()
                    ],
                }
            )
        )
        with prometheus(config, tmp_path / "history") as url:

            def counts(value: float) -> None:
                wait_until(
                    lambda: [s.value for s in Prometheus(url).query("pvewatch:threshold")] == [value],
                    f"the threshold {value:g}",
                )

            def command(*arguments: str) -> None:
                done = CliRunner().invoke(threshold, arguments, obj=Source(settings))
                assert done.exit_code == 0, done.output

            counts(0.95)
            command("set", *KEY, "0.99", "--for", "2d", "--comment", "the migration")
            counts(0.99)
            command("clear", *KEY)
            counts(0.95)
            command("set", *KEY, "0.5", "--comment", "watch it closely")
            counts(0.5)
            actions.stop()
            counts(0.95)
    store.close()
