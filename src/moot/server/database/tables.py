"""The tables. Times are text as `moot.server.clock` writes them; `space_key` is the internal number of a space.

A change here is a new migration as well: `tests/moot/server/test_migrations.py` compares what all migrations make with
these tables.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

# SQLite counts up only in a column whose type is INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")
Moment = String(32)
Id = String(200)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _space_key(*, primary: bool = False) -> Column[int]:
    return Column("space_key", Number, ForeignKey("spaces.space_key"), primary_key=primary, nullable=False)


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Id, primary_key=True),
    Column("name", String(500), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("suspended_at", Moment),
)

actors = Table(
    "actors",
    metadata,
    Column("actor_id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("actor_type", String(16), nullable=False),
    Column("display_name", String(500), nullable=False),
    Column("sponsor_id", Id, ForeignKey("actors.actor_id"), index=True),
    Column("is_admin", Boolean, nullable=False, server_default=false()),
    Column("email", String(500)),
    Column("agent_profile", String(500)),
    Column("default_space_id", Id),
    Column("focus_space_id", Id),
    Column("metadata", JSON(none_as_null=True)),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("last_seen_at", Moment),
    Column("deleted_at", Moment),
)

# Keys of agents and personal access tokens: only their SHA-256 is here, since each has 256 random bits.
credentials = Table(
    "credentials",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("credential_id", Id, nullable=False, unique=True),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("name", String(64), nullable=False),
    Column("prefix", String(32), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
)

spaces = Table(
    "spaces",
    metadata,
    Column("space_key", Number, primary_key=True, autoincrement=True),
    Column("tenant_id", Id, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("space_id", Id, nullable=False),
    Column("name", String(500), nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("status", String(16), nullable=False),
    Column("links", JSON, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("last_event_at", Moment),
    Column("last_sequence", Number, nullable=False, server_default="0"),
    # Events up to this number were removed.
    Column("pruned_sequence", Number, nullable=False, server_default="0"),
    UniqueConstraint("tenant_id", "space_id"),
    sqlite_autoincrement=True,
)

participants = Table(
    "participants",
    metadata,
    _space_key(primary=True),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), primary_key=True, index=True),
    Column("agent_adapter", String(200)),
    Column("status", String(200)),
    Column("status_updated_at", Moment),
    Column("joined_at", Moment, nullable=False),
    Column("last_seen_at", Moment),
    # The cursors of its delivery: the last event that was sent to it, and the last one that it has acknowledged.
    Column("pushed_sequence", Number),
    Column("acknowledged_sequence", Number, nullable=False, server_default="0"),
)

events = Table(
    "events",
    metadata,
    Column("event_key", Number, primary_key=True, autoincrement=True),
    _space_key(),
    Column("sequence", Number, nullable=False),
    Column("event_id", Id, nullable=False, unique=True),
    Column("speaker_id", Id, nullable=False),
    Column("speaker_name", String(500), nullable=False),
    Column("speaker_type", String(200), nullable=False),
    Column("text", Text, nullable=False),
    Column("timestamp", Moment, nullable=False),
    Column("parent_event_id", Id),
    Column("thread_id", Id),
    Column("reference_uris", JSON, nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    # The sender's own name for the message: a second attempt with it returns the first one's event.
    Column("idempotency_key", String(200)),
    UniqueConstraint("space_key", "sequence"),
    UniqueConstraint("speaker_id", "space_key", "idempotency_key"),
    Index(None, "space_key", "timestamp"),
    Index(None, "thread_id", "sequence"),
    sqlite_autoincrement=True,
)

# One row for each message and each recipient to whom it is addressed.
deliveries = Table(
    "deliveries",
    metadata,
    _space_key(primary=True),
    Column("recipient_id", Id, ForeignKey("actors.actor_id"), primary_key=True),
    Column("sequence", Number, primary_key=True),
    Column("relevance", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("queued_at", Moment, nullable=False),
    Column("pushed_at", Moment),
    Column("acknowledged_at", Moment),
    Column("dead_at", Moment),
    Column("reason", String(200)),
    Column("deadline_at", Moment, nullable=False),
    # It is to be sent although the recipient's cursor has passed it: it was dead, in a gap, or before the joining.
    Column("again", Boolean, nullable=False, server_default=false()),
    Index(None, "recipient_id", "space_key", "state", "sequence"),
    Index(None, "state", "deadline_at"),
    Index(None, "space_key", "sequence"),
)

threads = Table(
    "threads",
    metadata,
    Column("thread_id", Id, primary_key=True),
    _space_key(),
    Column("parent_event_id", Id, nullable=False),
    Column("subject", String(500)),
    Column("created_by", Id, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("space_key", "parent_event_id"),
)

# Who has spoken in a thread: a further message in it is addressed to them.
thread_speakers = Table(
    "thread_speakers",
    metadata,
    Column("thread_id", Id, ForeignKey("threads.thread_id"), primary_key=True),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), primary_key=True),
)

decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", Id, primary_key=True),
    _space_key(),
    Column("proposed_by", Id, nullable=False),
    Column("text", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("question_id", Id),
    Column("created_at", Moment, nullable=False),
    Column("resolved_by", Id),
    Column("resolved_at", Moment),
    Column("resolution", Text),
    Index(None, "space_key", "created_at"),
)

questions = Table(
    "questions",
    metadata,
    Column("question_id", Id, primary_key=True),
    _space_key(),
    Column("asked_by", Id, nullable=False),
    Column("assigned_to", Id),
    Column("text", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("decision_id", Id),
    Column("answer", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index(None, "space_key", "created_at"),
)

links = Table(
    "links",
    metadata,
    Column("link_id", Id, primary_key=True),
    _space_key(),
    Column("link_type", String(200), nullable=False),
    Column("target_id", Id),
    Column("target_uri", String(2048)),
    Column("attributes", JSON(none_as_null=True)),
    Column("created_by", Id, nullable=False),
    Column("created_at", Moment, nullable=False),
    Index(None, "space_key", "created_at"),
)

timers = Table(
    "timers",
    metadata,
    Column("timer_id", Id, primary_key=True),
    _space_key(),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), nullable=False, index=True),
    Column("tool_name", String(200), nullable=False),
    Column("tool_args", JSON, nullable=False),
    Column("timer_type", String(16), nullable=False),
    Column("duration_secs", Integer, nullable=False),
    Column("fire_count", Integer, nullable=False, server_default="0"),
    Column("seen_sequence", Number, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("next_fire_at", Moment, index=True),
    Index(None, "space_key"),
)

archives = Table(
    "archives",
    metadata,
    Column("archive_id", Id, primary_key=True),
    _space_key(),
    Column("actor_id", Id, nullable=False),
    Column("session_id", Id, nullable=False),
    Column("summary", Text, nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("space_key", "session_id"),
)

# Teams that were installed; a call with the same idempotency key returns the same team.
installations = Table(
    "installations",
    metadata,
    Column("installation_id", Id, primary_key=True),
    Column("team_id", Id, nullable=False, unique=True),
    Column("tenant_id", Id, ForeignKey("tenants.tenant_id"), nullable=False),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), nullable=False),
    Column("idempotency_key", String(200)),
    Column("template", String(200), nullable=False),
    Column("space_id", Id, nullable=False),
    # The id of the agent in each role.
    Column("agents", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("actor_id", "idempotency_key"),
)

# Invitations into a tenant: of the code that is shown once, only the hash is here.
invites = Table(
    "invites",
    metadata,
    Column("invite_id", Id, primary_key=True),
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("tenant_id", Id, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("created_by", Id, ForeignKey("actors.actor_id"), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("redeemed_at", Moment),
    Column("redeemed_by", Id),
)

prompt_rules = Table(
    "prompt_rules",
    metadata,
    Column("rule_id", Id, primary_key=True),
    Column("tenant_id", Id, ForeignKey("tenants.tenant_id"), nullable=False, index=True),
    Column("space_id", Id),
    Column("name", String(500), nullable=False),
    Column("text", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_by", Id, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

# What a person has allowed a program to fetch a key for, once and within a minute (OAuth with PKCE).
grants = Table(
    "grants",
    metadata,
    Column("code_hash", String(64), primary_key=True),
    Column("grant_id", Id, nullable=False, unique=True),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), nullable=False),
    Column("parent_id", Id, nullable=False),
    Column("client_id", String(200), nullable=False),
    Column("redirect_uri", String(2048), nullable=False),
    Column("challenge", String(200), nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
)

CONNECTION_LIFETIME_SECONDS = 150.0
"""A connection that was not refreshed for this time belongs to a server process that has died."""
# The live sockets and streams of all server processes.
connections = Table(
    "connections",
    metadata,
    Column("connection_id", Id, primary_key=True),
    Column("actor_id", Id, ForeignKey("actors.actor_id"), nullable=False, index=True),
    _space_key(),
    Column("opened_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
)
