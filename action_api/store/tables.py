"""The tables of the action API.

Times are unix seconds (UTC) as floats. Hashes are hexadecimal SHA-256: no session or confirmation token
is ever stored in a form that could be used. The migrations in ``migrations/`` lead to exactly these tables.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only when the key column is declared INTEGER.
_Key = BigInteger().with_variant(Integer(), "sqlite")

users = Table(
    "users",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("totp_secret", Text),
    Column("totp_confirmed_at", Double),
    Column("last_totp_step", BigInteger),
    Column("disabled_at", Double),
    Column("created_at", Double, nullable=False),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", String(64), primary_key=True),
    Column("user_id", _Key, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("last_seen_at", Double, nullable=False),
    Column("second_factor_at", Double),
    Column("revoked_at", Double),
)

confirmations = Table(
    "confirmations",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("session_id_hash", String(64), ForeignKey("sessions.id_hash", ondelete="CASCADE"), nullable=False),
    Column("cluster", String(63), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("vmid", Integer, nullable=False),
    Column("action", String(32), nullable=False),
    Column("state_shown", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    Column("used_at", Double),
)
Index("ix_confirmations_session_id_hash", confirmations.c.session_id_hash)

login_failures = Table(
    "login_failures",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("key", String(128), nullable=False),
    Column("at", Double, nullable=False, index=True),
)
Index("ix_login_failures_key_at", login_failures.c.key, login_failures.c.at)

audit = Table(
    "audit",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("actor", String(64), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("event", String(64), nullable=False),
    Column("cluster", String(63)),
    Column("guest", String(32)),
    Column("detail", Text, nullable=False),
    Column("remote", String(64)),
)
Index("ix_audit_cluster_guest_id", audit.c.cluster, audit.c.guest, audit.c.id)

OPEN = "closed_at IS NULL"
incidents = Table(
    "incidents",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("cluster", String(63), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("vmid", Integer, nullable=False),
    Column("guest_name", String(255)),
    Column("alertname", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("alert_started_at", Double, nullable=False),
    Column("last_alert_at", Double, nullable=False),
    Column("alert_resolved_at", Double),
    Column("closed_at", Double),
    Column("attempts", Integer, nullable=False),
    Column("next_look_at", Double),
    Column("last_reason_code", String(64)),
    Column("last_reason", Text),
    CheckConstraint("state IN ('open', 'recovered', 'cleared', 'exhausted')", name="state"),
)
Index(
    "uq_incidents_open_guest",
    incidents.c.cluster,
    incidents.c.vmid,
    unique=True,
    sqlite_where=text(OPEN),
    postgresql_where=text(OPEN),
)
Index("ix_incidents_next_look_at", incidents.c.next_look_at, sqlite_where=text(OPEN), postgresql_where=text(OPEN))

UNFINISHED = "state IN ('pending', 'claimed', 'executing', 'following')"
action_runs = Table(
    "action_runs",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("cluster", String(63), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("vmid", Integer, nullable=False),
    Column("guest_name", String(255)),
    Column("action", String(32), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("requested_by", String(64), nullable=False),
    Column("incident_id", _Key, ForeignKey("incidents.id"), index=True),
    Column("state", String(16), nullable=False),
    Column("reason_code", String(64)),
    Column("reason", Text),
    Column("created_at", Double, nullable=False),
    Column("claimed_at", Double),
    Column("claimed_by", String(128)),
    Column("lease_until", Double),
    # The call that PVE is being asked for; an action of several calls (LXC reset: stop, start) has one at a time.
    Column("call", String(32)),
    Column("intent_at", Double),
    Column("upid", String(255)),
    Column("node", String(63)),
    Column("finished_at", Double),
    Column("outcome", Text),
    CheckConstraint("origin IN ('person', 'automation')", name="origin"),
    CheckConstraint(
        "state IN ('pending', 'claimed', 'executing', 'following', 'succeeded', 'failed', 'refused', 'unknown')",
        name="state",
    ),
)
Index(
    "uq_action_runs_unfinished_guest",
    action_runs.c.cluster,
    action_runs.c.vmid,
    unique=True,
    sqlite_where=text(UNFINISHED),
    postgresql_where=text(UNFINISHED),
)
Index("ix_action_runs_cluster_vmid_id", action_runs.c.cluster, action_runs.c.vmid, action_runs.c.id)

run_events = Table(
    "run_events",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run_id", _Key, ForeignKey("action_runs.id", ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("text", Text, nullable=False),
)
Index("ix_run_events_run_id_id", run_events.c.run_id, run_events.c.id)

WAITING = "state IN ('waiting', 'sending')"
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("channel", String(63), nullable=False),
    # What was said, as a hash: Alertmanager says it again when it has not heard our answer.
    Column("digest", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("received_at", Double, nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double, nullable=False),
    Column("claimed_by", String(128)),
    Column("lease_until", Double),
    Column("interrupted", Boolean, nullable=False),
    Column("last_error", Text),
    Column("finished_at", Double),
    CheckConstraint("state IN ('waiting', 'sending', 'sent', 'dead')", name="state"),
)
Index("ix_deliveries_channel_digest", deliveries.c.channel, deliveries.c.digest)
Index("ix_deliveries_next_at", deliveries.c.next_at, sqlite_where=text(WAITING), postgresql_where=text(WAITING))

pve_alerts = Table(
    "pve_alerts",
    metadata,
    # A hash of the labels: what makes two alerts the same.
    Column("key", String(64), primary_key=True),
    Column("labels", Text, nullable=False),
    Column("annotations", Text, nullable=False),
    Column("said_at", Double, nullable=False),
    Column("starts_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
)

threshold_overrides = Table(
    "threshold_overrides",
    metadata,
    Column("cluster", String(63), primary_key=True),
    Column("id", String(255), primary_key=True),
    Column("figure", String(64), primary_key=True),
    Column("value", Double, nullable=False),
    Column("set_by", String(64), nullable=False),
    Column("set_at", Double, nullable=False),
    Column("until", Double),
    Column("comment", Text, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    # What /metrics counts. Kept apart from the rows it counts: a counter may not fall when old rows are removed.
    # Also the unix seconds at which a worker was last seen.
    Column("family", String(32), primary_key=True),
    Column("labels", String(255), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
