"""The heartbeats' part of /metrics as bytes, written again only for guests of which there is something new.

Ten thousand agents are ten times as many series. Each guest's lines are kept, and a thread brings them up to date every
two seconds, so that a scrape only takes what is there.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from exporter.exposition import gathered, header, write_samples
from exporter.heartbeats.metrics import METRICS, REJECTED_HELP, REJECTED_NAME, GuestIds, gone, shown_id, told, written
from exporter.heartbeats.record import Guest, Record, is_silent

REFRESH_SECONDS = 2.0
# In the background the work is done in small parts: at a thousand heartbeats a second it would else hold them up.
PART_GUESTS = 20
PAUSE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class _Lines:
    record: Record
    guest_id: str | None
    silent: bool
    shared: bool
    # One text for each of METRICS; none while the guest is not shown.
    families: tuple[bytes, ...]


class HeartbeatPage:
    """The page of one exporter. Any thread may read it."""

    def __init__(
        self,
        records: Callable[[], Mapping[Guest, Record]],
        guest_ids: Callable[[], GuestIds],
        rejected: Mapping[str, int],
        clock: Callable[[], float],
        *,
        timeout: float,
        keep: float = math.inf,
        forget: Callable[[frozenset[Guest], float], None] = lambda _guests, _oldest: None,
    ) -> None:
        """`timeout` is the age in seconds at which a guest counts as silent.

        After `keep` seconds of silence a guest that Proxmox VE lacks, or cannot be asked for, has no series, and
        `forget` is told of the former, and from when on they would not have been gone. The others are asked at each
        refresh.
        """
        self._records = records
        self._guest_ids = guest_ids
        self._rejected = rejected
        self._clock = clock
        self._timeout = timeout
        self._keep = keep
        self._forget = forget
        self._lock = threading.Lock()
        self._lines: dict[Guest, _Lines] = {}
        self._order: list[Guest] = []
        self._counted: dict[str, int] | None = None
        self._pieces: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_current, name="heartbeat-page", daemon=True)

    def start(self) -> None:
        """Keep the page current in the background from now on."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """End the background work; does not wait."""
        self._stop.set()

    def pieces(self) -> list[bytes]:
        """The page, in pieces to be sent: at most some three seconds old in the background's care, else as of now."""
        if not self._thread.is_alive():
            self.refresh()
        return self._pieces

    def text(self) -> bytes:
        """The page in one."""
        return b"".join(self.pieces())

    def refresh(self, *, pause: float = 0.0) -> int:
        """Bring the page up to date; returns of how many guests lines were written.

        After every PART_GUESTS of them it rests for `pause` seconds.
        """
        with self._lock:
            now = self._clock()
            records, ids = self._records(), self._guest_ids()
            if forgotten := gone(records, ids, now - self._keep):
                self._forget(forgotten, now - self._keep)
            counted = dict(self._rejected)
            changed = self._write_changed(records, ids, now, pause)
            left = self._lines.keys() - records.keys()
            for guest in left:
                del self._lines[guest]
            if len(self._order) != len(self._lines) or left:
                self._order = sorted(self._lines)
            if changed or left or counted != self._counted:
                self._counted = counted
                self._pieces = list(gathered(self._families(counted)))
            return changed

    def _write_changed(self, records: Mapping[Guest, Record], ids: GuestIds, now: float, pause: float) -> int:
        changed = 0
        for guest, record in records.items():
            guest_id = shown_id(record, ids, now - self._keep)
            silent, shared = is_silent(record, now, self._timeout), record.progress.is_shared(now)
            known = self._lines.get(guest)
            if (
                known is not None
                and known.record is record
                and (known.guest_id, known.silent, known.shared) == (guest_id, silent, shared)
            ):
                continue
            lines = () if guest_id is None else written(record.cluster, guest_id, told(record, now, self._timeout))
            self._lines[guest] = _Lines(record, guest_id, silent, shared, lines)
            changed += 1
            if pause and changed % PART_GUESTS == 0:
                self._stop.wait(pause)
        return changed

    def _families(self, rejected: Mapping[str, int]) -> Iterator[bytes]:
        # Family by family: to join hundreds of thousands of lines in one step would stop every other thread meanwhile.
        shown = [lines.families for guest in self._order if (lines := self._lines[guest]).families]
        for place, metric in enumerate(METRICS):
            yield header(metric.name, metric.type, metric.help)
            yield b"".join([lines[place] for lines in shown])
        yield header(REJECTED_NAME, "counter", REJECTED_HELP)
        yield write_samples(REJECTED_NAME, ("reason",), (((reason,), count) for reason, count in rejected.items()))

    def _keep_current(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            self.refresh(pause=PAUSE_SECONDS)
