"""The relay's messages: stored when they are accepted, sent by a worker, kept as dead letters when all tries failed.

    waiting → sending → sent
       ↑         ├→ waiting  the service could not be reached, or refused: later again
       └─────────┴→ dead     tried often enough; `retry` lets it wait again

``sending`` is the intent: it is on disk before the service is asked. A worker that dies there leaves the message to the
next one marked as interrupted, because nobody knows whether it has arrived.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, case, delete, func, insert, or_, select, update

from action_api.store.audit import count
from action_api.store.database import Database
from action_api.store.records import DELIVERY_STATES, Delivery, DeliveryState
from action_api.store.tables import deliveries

MAX_ERROR_CHARACTERS = 500
MAX_PAGE = 500
MAX_WAITING_PER_CHANNEL = 1000

_columns = deliveries.c
_UNFINISHED = _columns.state.in_(("waiting", "sending"))


class QueueFull(Exception):
    """So many messages of this channel wait already that no more are accepted."""


class Deliveries:
    """What people are to be told over channels that Alertmanager does not speak."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accept(self, channel: str, message: str, digest: str, *, now: float, repeat_seconds: float) -> Delivery | None:
        """Store a message; it is on disk when this returns.

        None: the same was accepted within the last ``repeat_seconds``, so this repeats a message whose answer was lost.
        Raises QueueFull.
        """
        mine = _columns.channel == channel
        same = and_(mine, _columns.digest == digest, _columns.received_at > now - repeat_seconds)
        with self._database.write() as connection:
            if connection.execute(select(_columns.id).where(same).limit(1)).first() is not None:
                return None
            waiting = connection.execute(
                select(func.count()).select_from(deliveries).where(mine, _UNFINISHED)
            ).scalar_one()
            if waiting >= MAX_WAITING_PER_CHANNEL:
                raise QueueFull(f"{waiting} messages of {channel} wait already")
            values = {
                "channel": channel,
                "digest": digest,
                "message": message,
                "received_at": now,
                "state": "waiting",
                "attempts": 0,
                "next_at": now,
                "interrupted": False,
            }
            row = connection.execute(insert(deliveries).values(values).returning(deliveries)).mappings().one()
            return Delivery(**row)

    def claim_due(
        self, worker: str, *, now: float, lease_seconds: float, busy: Collection[str] = ()
    ) -> Delivery | None:
        """Write down that the oldest due message is being sent, and return it; only then may the service be asked.

        Messages of the channels ``busy`` are passed over. One whose worker has not come back within its lease is taken
        over, with ``interrupted``.
        """
        lapsed = and_(_columns.state == "sending", _columns.lease_until < now)
        due = or_(and_(_columns.state == "waiting", _columns.next_at <= now), lapsed)
        query = select(_columns.id, _columns.state, _columns.attempts).where(due, _columns.channel.not_in(busy))
        with self._database.read() as connection:
            found = connection.execute(query.order_by(_columns.id).limit(20)).all()
        for row in found:
            unchanged = (_columns.id == row.id, _columns.state == row.state, _columns.attempts == row.attempts)
            values = {
                "state": "sending",
                "attempts": _columns.attempts + 1,
                "claimed_by": worker,
                "lease_until": now + lease_seconds,
                "interrupted": case((_columns.state == "sending", True), else_=_columns.interrupted),
            }
            with self._database.write() as connection:
                claim = update(deliveries).where(*unchanged).values(values).returning(deliveries)
                claimed = connection.execute(claim).mappings().one_or_none()
            if claimed is not None:  # else another worker was faster
                return Delivery(**claimed)
        return None

    def sent(self, delivery: Delivery, *, now: float) -> bool:
        """The service has taken the message. False: another worker has taken it over meanwhile."""
        values = {"state": "sent", "finished_at": now, "last_error": None, "lease_until": None}
        return self._end(delivery, values, "sent")

    def failed(self, delivery: Delivery, error: str, *, now: float, next_at: float | None) -> bool:
        """The service has not taken the message: again at ``next_at``, or never (None), a dead letter then."""
        values = {"last_error": error[:MAX_ERROR_CHARACTERS], "lease_until": None, "claimed_by": None}
        if next_at is None:
            return self._end(delivery, values | {"state": "dead", "finished_at": now}, "dead")
        # What is known not to have arrived is no longer a possible repeat.
        return self._end(delivery, values | {"state": "waiting", "next_at": next_at, "interrupted": False}, "failed")

    def put_back(self, worker: str, *, now: float) -> None:
        """A stopping worker gives up what it is sending: nobody knows whether it arrives."""
        mine = and_(_columns.claimed_by == worker, _columns.state == "sending")
        with self._database.write() as connection:
            connection.execute(
                update(deliveries)
                .where(mine)
                .values(state="waiting", next_at=now, interrupted=True, claimed_by=None, lease_until=None)
            )

    def retry(self, ids: Collection[int] | None, *, now: float) -> int:
        """Let dead letters wait again, all of them or those; answers how many."""
        dead = [_columns.state == "dead"] + ([_columns.id.in_(ids)] if ids is not None else [])
        values = {"state": "waiting", "attempts": 0, "next_at": now, "finished_at": None, "claimed_by": None}
        with self._database.write() as connection:
            return connection.execute(update(deliveries).where(*dead).values(values)).rowcount

    def newest(self, states: Collection[DeliveryState] = DELIVERY_STATES, limit: int = 50) -> tuple[Delivery, ...]:
        """The newest messages in these states, at most 500."""
        query = select(deliveries).where(_columns.state.in_(states)).order_by(_columns.id.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(min(limit, MAX_PAGE))).mappings()
            return tuple(Delivery(**row) for row in rows)

    def count_by_channel(self) -> dict[tuple[str, DeliveryState], int]:
        """How many messages each channel has in each state."""
        query = select(_columns.channel, _columns.state, func.count()).group_by(_columns.channel, _columns.state)
        with self._database.read() as connection:
            return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}

    def remove_sent_older(self, before: float) -> int:
        """Remove what was sent, or given up, before that time; answers how many."""
        old = and_(_columns.state.in_(("sent", "dead")), _columns.finished_at < before)
        with self._database.write() as connection:
            return connection.execute(delete(deliveries).where(old)).rowcount

    def _end(self, delivery: Delivery, values: dict[str, object], outcome: str) -> bool:
        mine = (
            _columns.id == delivery.id,
            _columns.state == "sending",
            _columns.claimed_by == delivery.claimed_by,
            _columns.attempts == delivery.attempts,
        )
        with self._database.write() as connection:
            if connection.execute(update(deliveries).where(*mine).values(values)).rowcount == 0:
                return False
            count(connection, "deliveries", channel=delivery.channel, outcome=outcome)
        return True
