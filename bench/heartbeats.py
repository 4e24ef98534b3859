"""Heartbeats: how many a second become durable, how long one waits, and whether a killed process loses one.

The senders are a process of their own (this module run as a program): they keep connections open, send at a steady
rate, and write down what was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.figures import Latency
from bench.processes import Ours
from exporter.heartbeats.tokens import token
from pvewatch.secrets import Secret

CONNECTIONS = 64
FIRST_VMID = 100
BOOTED = 1_700_000_000.0  # unix time; for all senders the same


@dataclass(frozen=True, slots=True)
class Sent:
    """What the senders saw: `per_second` acknowledged, and the newest sequence acknowledged of each guest."""

    per_second: float
    latency: Latency
    refused: int
    acknowledged: dict[int, int]


def send(ours: Ours, guests: int, seconds: float, rate: float, first_sequence: int, *, kill: bool = False) -> Sent:
    """Let the senders work for a while; with `kill` the exporter is killed without warning half-way."""
    secret = (ours.data / "secrets" / "heartbeat").read_text().strip()
    result = ours.data.parent / f"sent-{first_sequence}.json"
    work = {
        "port": ours.heartbeat_port,
        "secret": secret,
        "guests": guests,
        "seconds": seconds,
        "rate": rate,
        "first_sequence": first_sequence,
        "result": str(result),
    }
    from bench.processes import Process  # noqa: PLC0415 - the senders' process imports this module without it

    settings = ours.data.parent / "send.json"
    settings.touch(mode=0o600)
    settings.write_text(json.dumps(work))
    senders = Process("senders", [sys.executable, "-m", "bench.heartbeats", str(settings)], ours.data.parent)
    if kill:
        time.sleep(seconds / 2)
        ours.kill()
    senders.wait_until(result.exists, seconds + 60, "writing down what was acknowledged")
    found = json.loads(result.read_text())
    latency = Latency.of(found["seconds"] or [0.0], 0)
    acknowledged = {int(vmid): sequence for vmid, sequence in found["acknowledged"].items()}
    return Sent(len(found["seconds"]) / found["took"], latency, found["refused"], acknowledged)


def lost(ours: Ours, acknowledged: dict[int, int]) -> int:
    """How many guests' newest acknowledged heartbeat is not in the store of the killed process."""
    connection = sqlite3.connect(ours.data / "heartbeats.db")
    stored = {
        int(vmid): int(json.loads(payload)["sequence"])
        for vmid, payload in connection.execute("SELECT vmid, payload FROM heartbeats")
    }
    connection.close()
    return sum(stored.get(vmid, -1) < sequence for vmid, sequence in acknowledged.items())


class _Senders:
    def __init__(self, port: int, secret: str, guests: int, first_sequence: int) -> None:
        self._port = port
        self._tokens = [token(Secret(secret), "c0", FIRST_VMID + number) for number in range(guests)]
        self._sequence = first_sequence
        self._next = 0
        self.seconds: list[float] = []
        self.refused = 0
        self.acknowledged: dict[int, int] = {}

    def _request(self) -> tuple[int, int, bytes]:
        number = self._next % len(self._tokens)
        if number == 0 and self._next:
            self._sequence += 1
        self._next += 1
        body = json.dumps(
            {
                "schema": 1,
                "agent": {"version": "1.0.0", "platform": "linux"},
                "boot_id": "3f0e6b1e-0000-4000-8000-000000000000",
                "sequence": self._sequence,
                "missed": 0,
                "time": time.time(),
                # It goes on with the clock: a message that does not count as alive would not be kept.
                "uptime_seconds": time.time() - BOOTED,
                "interval_seconds": 60,
                "cpu": {"usage_ratio": 0.25, "cores": 4},
                "load": {"1m": 0.5, "5m": 0.4, "15m": 0.3},
                "memory": {"size_bytes": 4 << 30, "available_bytes": 2 << 30},
                "swap": {"size_bytes": 1 << 30, "free_bytes": 1 << 30},
                "filesystems": [
                    {"mountpoint": "/", "type": "ext4", "size_bytes": 20 << 30, "available_bytes": 9 << 30},
                    {"mountpoint": "/srv", "type": "xfs", "size_bytes": 90 << 30, "available_bytes": 40 << 30},
                ],
                "os": {"name": "Debian GNU/Linux", "version": "12"},
            }
        ).encode()
        head = (
            "POST /api/v1/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self._tokens[number]}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return FIRST_VMID + number, self._sequence, head.encode() + body

    async def one(self, rate: float, until: float, place: int) -> None:
        """One connection: its share of the rate, each send at its own moment."""
        share = rate / CONNECTIONS
        due = time.perf_counter() + place / rate
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while time.perf_counter() < until:
            # Made before it is due: what the sender takes for that is no waiting.
            vmid, sequence, request = self._request()
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                if writer is None or reader is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                # From the moment it should have been sent: whoever is late counts that as waiting.
                begun = due
                writer.write(request)
                async with asyncio.timeout(30):
                    head = await reader.readuntil(b"\r\n\r\n")
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.refused += 1
                writer = None
                due = time.perf_counter() + 0.2
                continue
            if head.startswith(b"HTTP/1.1 204"):
                self.seconds.append(time.perf_counter() - begun)
                self.acknowledged[vmid] = max(sequence, self.acknowledged.get(vmid, -1))
            else:
                self.refused += 1
                writer = None
            due += 1 / share


async def _work(work: dict[str, object]) -> dict[str, object]:
    senders = _Senders(
        int(str(work["port"])), str(work["secret"]), int(str(work["guests"])), int(str(work["first_sequence"]))
    )
    begun = time.perf_counter()
    until = begun + float(str(work["seconds"]))
    rate = float(str(work["rate"]))
    await asyncio.gather(*(senders.one(rate, until, place) for place in range(CONNECTIONS)))
    return {
        "seconds": senders.seconds,
        "took": time.perf_counter() - begun,
        "refused": senders.refused,
        "acknowledged": senders.acknowledged,
    }


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    done = uvloop.run(_work(given))
    draft = Path(str(given["result"])).with_suffix(".new")
    draft.write_text(json.dumps(done))
    draft.rename(given["result"])
