"""A process that only takes heartbeats, for tests that kill one: DIR SECRET CLUSTER [CERT KEY]; prints its port."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from exporter.heartbeats.http import HeartbeatApp, RateLimit
from exporter.heartbeats.store import HeartbeatStore
from pvewatch.secrets import Secret
from pvewatch.serve import serve


def main() -> None:
    directory, secret, cluster, *tls = sys.argv[1:]
    store = HeartbeatStore(Path(directory) / "exporter-heartbeats.db")
    app = HeartbeatApp(
        store,
        Secret(secret),
        frozenset([cluster]),
        lambda _cluster, _vmid: "qemu",
        rate_limit=RateLimit(per_second=1e6, burst=1e6),
    )
    cert, key = (Path(tls[0]), Path(tls[1])) if tls else (None, None)
    server = serve(app, "127.0.0.1:0", tls_cert=cert, tls_key=key, kind="asgi").start()
    print(server.address[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
