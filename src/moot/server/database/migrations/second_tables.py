"""The tables that the second version of the schema has added. They do not change: see `moot.server.database.tables`."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, ForeignKey, MetaData, String, Table, Text, UniqueConstraint

from moot.server.database.migrations.first_tables import Id, Moment, actors, tenants
from moot.server.database.migrations.first_tables import metadata as first

metadata = MetaData(naming_convention=first.naming_convention)
for _one in (tenants, actors):
    _one.to_metadata(metadata)

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

NEW = (installations, invites, prompt_rules, grants)
