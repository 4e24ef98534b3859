from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.heartbeats.http import HeartbeatApp
from exporter.heartbeats.store import HeartbeatStore
from pvewatch.serve import serve
from tests.agents.ingest import SECRET, Authority, Ingest, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def ingest(tmp_path: Path, authority: Authority) -> Iterator[Ingest]:
    store = HeartbeatStore(tmp_path / "exporter-heartbeats.db")
    app = HeartbeatApp(store, SECRET, frozenset(["home"]), lambda _cluster, _vmid: "qemu")
    server = serve(app, "127.0.0.1:0", tls_cert=authority.cert, tls_key=authority.key, kind="asgi").start()
    yield Ingest(f"https://127.0.0.1:{server.address[1]}", store, app)
    server.stop()
    store.close()
