"""The heartbeat listener: takes heartbeats, and answers nothing else.

    POST /api/v1/heartbeat      (or its alias /api/health/report)
    Authorization: Bearer v1.<cluster>.<vmid>.<signature>

204 once the heartbeat is on disk. Anything else is an error {"error": {"code", "message", "detail"}} and was not taken:

    401 unauthorized        no token, or not one of ours        413 too_large       more bytes than allowed
    403 revoked             the guest's token was revoked       422 invalid         names the field
    403 unknown_cluster     the cluster is not configured       429 too_often       with Retry-After
    403 wrong_machine       another SMBIOS UUID than PVE's      503 busy, not_stored  with Retry-After
    404 not_found           405 method_not_allowed
    408 too_slow            the body did not come in time

A heartbeat that came late is taken (204: sending it again would help nobody), and does not count as alive.

Plain ASGI: two paths and one method need no framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import Future
from typing import Any

from exporter.heartbeats.keys import HeartbeatKeys, Speaker, TokenRevoked
from exporter.heartbeats.record import Guest
from exporter.heartbeats.schema import Heartbeat, InvalidHeartbeat, parse
from exporter.heartbeats.store import HeartbeatStore, StoreBusy, StoreFailed
from exporter.heartbeats.tokens import TokenRefused
from pvewatch.inventory import GuestKind
from pvewatch.secrets import Secret

PATHS = ("/api/v1/heartbeat", "/api/health/report")
REASONS = (
    "not_found",
    "method_not_allowed",
    "unauthorized",
    "revoked",
    "unknown_cluster",
    "wrong_machine",
    "too_often",
    "too_large",
    "too_slow",
    "invalid",
    "busy",
    "not_stored",
)
READ_TIMEOUT_SECONDS = 10.0
RETRY_SECONDS = 5
# A refused body is still read up to here, so that the sender gets to read why; beyond, the connection is cut.
DISCARD_BYTES = 1024 * 1024

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]
KindOf = Callable[[str, int], GuestKind | None]
UuidOf = Callable[[str, int], str | None]


class RateLimit:
    """A token bucket per guest: `burst` at once, then `per_second`. Memory is bounded by `guests`."""

    def __init__(self, per_second: float = 1.0, burst: float = 10.0, guests: int = 50_000) -> None:
        self._per_second = per_second
        self._burst = burst
        self._guests = guests
        self._buckets: OrderedDict[Guest, tuple[float, float]] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many guests' buckets are held, at most `guests`."""
        return len(self._buckets)

    def take(self, guest: Guest, now: float) -> bool:
        """Whether this guest may send at `now` (monotonic seconds); counts the sending if so."""
        level, since = self._buckets.get(guest, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_second)
        allowed = level >= 1
        self._buckets[guest] = (level - 1 if allowed else level, now)
        self._buckets.move_to_end(guest)
        if len(self._buckets) > self._guests:
            # The one longest quiet: its bucket is full again, so forgetting it changes nothing.
            self._buckets.popitem(last=False)
        return allowed


class _Finished:
    """What asyncio.wrap_future does, but the loop is woken once for all that the store has written together.

    Each waking is a system call, after which the writer waits for its turn among the threads.
    """

    def __init__(self) -> None:
        self._written: deque[tuple[asyncio.Future[None], Future[None]]] = deque()
        self._woken = False

    async def wait_for(self, written: Future[None]) -> None:
        """Wait until it is written; raises what it ended with."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()

        def note(done: Future[None]) -> None:
            self._written.append((waiting, done))
            if not self._woken:
                self._woken = True
                try:
                    loop.call_soon_threadsafe(self._tell)
                except RuntimeError:  # the listener was stopped, and its loop is closed
                    self._woken = False

        written.add_done_callback(note)
        await waiting

    def _tell(self) -> None:
        # First this: what is noted from now on wakes again.
        self._woken = False
        while self._written:
            waiting, written = self._written.popleft()
            if waiting.done():
                continue  # the sender went away
            error = written.exception()
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)


class _Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str, *, detail: object = None, headers: Headers = ()) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.detail = detail
        self.headers = headers


class HeartbeatApp:
    """The ASGI application of the heartbeat listener.

    `keys` is a HeartbeatKeys, or the one secret that counts. `kind_of(cluster, vmid)` says what Proxmox VE last called
    the guest, `uuid_of` the SMBIOS UUID that it gave it (None when not known); neither may block.
    `rejected` counts refusals by reason since the start; its keys are REASONS, always all of them.
    """

    def __init__(
        self,
        store: HeartbeatStore,
        keys: HeartbeatKeys | Secret,
        clusters: frozenset[str],
        kind_of: KindOf,
        *,
        uuid_of: UuidOf = lambda _cluster, _vmid: None,
        max_bytes: int = 65_536,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
        rate_limit: RateLimit | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._keys = HeartbeatKeys(None, keys) if isinstance(keys, Secret) else keys
        self._clusters = clusters
        self._kind_of = kind_of
        self._uuid_of = uuid_of
        self._max_bytes = max_bytes
        self._read_timeout_seconds = read_timeout_seconds
        self._rate_limit = RateLimit() if rate_limit is None else rate_limit
        self._clock = clock
        self._finished = _Finished()
        self.rejected: dict[str, int] = dict.fromkeys(REASONS, 0)

    def accept(self, clusters: frozenset[str]) -> None:
        """From now on take heartbeats of guests of these clusters."""
        self._clusters = clusters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await self._take(scope, receive)
        except _Refusal as refusal:
            self.rejected[refusal.reason] += 1
            await _answer_refusal(send, refusal)
        except _Disconnected:
            return
        else:
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def _take(self, scope: Scope, receive: Receive) -> None:
        try:
            speaker = self._admit(scope)
        except _Refusal:
            with contextlib.suppress(TimeoutError):
                await self._read(receive)
            raise
        try:
            body = await self._read(receive)
        except TimeoutError:
            raise _Refusal(408, "too_slow", f"the body did not come within {self._read_timeout_seconds:g} s") from None
        if body is None:
            raise self._too_large()
        received_at = self._clock()
        heartbeat = _parse(body)
        cluster, vmid = speaker.cluster, speaker.vmid
        if not fits(heartbeat.smbios_uuid, self._uuid_of(cluster, vmid)):
            raise _Refusal(
                403,
                "wrong_machine",
                f"this machine's SMBIOS UUID is not the one that Proxmox VE gave {cluster}/{vmid}: is it a clone? "
                "Give it a token of its own: pvewatch agent-token CLUSTER VMID",
            )
        try:
            kind = self._kind_of(cluster, vmid)
            done = self._store.submit(cluster, vmid, kind, heartbeat, received_at, key_id=speaker.key_id)
            await self._finished.wait_for(done)
        except StoreBusy:
            raise _refuse_for_now(503, "busy", "too many heartbeats are waiting to be written") from None
        except StoreFailed:
            raise _refuse_for_now(503, "not_stored", "the heartbeat could not be written to disk") from None

    def _admit(self, scope: Scope) -> Speaker:
        if scope["path"] not in PATHS:
            raise _Refusal(404, "not_found", f"only {PATHS[0]} is answered here")
        if scope["method"] != "POST":
            raise _Refusal(405, "method_not_allowed", "a heartbeat is sent with POST", headers=((b"allow", b"POST"),))
        headers: dict[bytes, bytes] = dict(scope["headers"])
        scheme, _, presented = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        try:
            # Of another scheme nothing is a token, so it is refused like one that is malformed.
            speaker = self._keys.verify(presented.strip() if scheme.lower() == "bearer" else "")
        except TokenRevoked:
            raise _Refusal(
                403, "revoked", "this token was revoked; print a new one with: pvewatch agent-token CLUSTER VMID"
            ) from None
        except TokenRefused:
            raise _Refusal(
                401,
                "unauthorized",
                "the token is missing or not valid here; print the guest's with: pvewatch agent-token CLUSTER VMID",
                headers=((b"www-authenticate", b"Bearer"),),
            ) from None
        guest = (speaker.cluster, speaker.vmid)
        if speaker.cluster not in self._clusters:
            raise _Refusal(
                403, "unknown_cluster", f"the cluster {speaker.cluster} is not in this exporter's configuration"
            )
        if not self._rate_limit.take(guest, time.monotonic()):
            raise _refuse_for_now(429, "too_often", "this guest sends more often than once a second")
        length = headers.get(b"content-length", b"0")
        # Ten digits, then int(): Python takes long over numbers of many digits.
        if not length[:10].isdigit() or len(length) > 10 or int(length) > self._max_bytes:
            raise self._too_large()
        return speaker

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body; None when it is too large, and then the rest was dropped, up to DISCARD_BYTES.

        Raises TimeoutError when it does not come in time.
        """
        body = bytearray()
        size = 0
        more = True
        async with asyncio.timeout(self._read_timeout_seconds):
            while more and size <= max(self._max_bytes, DISCARD_BYTES):
                chunk, more = await _next_chunk(receive)
                size += len(chunk)
                if size <= self._max_bytes:
                    body += chunk
        return bytes(body) if size <= self._max_bytes else None

    def _too_large(self) -> _Refusal:
        return _Refusal(413, "too_large", f"a heartbeat has at most {self._max_bytes} bytes")


def fits(told: str | None, known: str | None) -> bool:
    """Whether the UUID that a machine tells is the one that Proxmox VE gave it; unknown on either side fits.

    The first three fields are little-endian since SMBIOS 2.6 (DMTF DSP0134, 7.2.1), and some systems print them so.
    """
    if told is None or known is None:
        return True
    given = uuid.UUID(known)
    return uuid.UUID(told) in (given, uuid.UUID(bytes=given.bytes_le))


class _Disconnected(Exception):
    """The sender is gone: there is nobody to answer."""


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _Disconnected
    return message.get("body", b""), message.get("more_body", False)


def _parse(body: bytes) -> Heartbeat:
    try:
        return parse(body)
    except InvalidHeartbeat as error:
        detail = [{"field": field, "problem": problem} for field, problem in error.problems]
        raise _Refusal(422, "invalid", str(error), detail=detail) from None


def _refuse_for_now(status: int, reason: str, message: str) -> _Refusal:
    return _Refusal(status, reason, message, headers=((b"retry-after", str(RETRY_SECONDS).encode()),))


async def _answer_refusal(send: Send, refusal: _Refusal) -> None:
    error = {"code": refusal.reason, "message": refusal.message, "detail": refusal.detail}
    body = json.dumps({"error": error}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # A body that was not read to its end must not be taken for the next request.
        (b"connection", b"close"),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
