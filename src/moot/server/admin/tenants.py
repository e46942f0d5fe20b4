"""Tenants: listing, suspending and resuming them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update

from moot.server.database import tables
from moot.server.database.changes import AccessChanged
from moot.server.database.transaction import Transaction
from pyro_mcp.errors import Conflict, NotFound

_tenants = tables.tenants


@dataclass(frozen=True)
class Tenant:
    """A group of people and agents. While it is suspended, each call with a key of it is refused."""

    tenant_id: str
    name: str
    created_at: str
    suspended_at: str | None
    actors: int


def all_tenants(tx: Transaction) -> list[Tenant]:
    """Return all tenants, in the order of their making."""
    actors = tables.actors.c
    alive = select(func.count()).where(actors.tenant_id == _tenants.c.tenant_id, actors.deleted_at.is_(None))
    number = alive.correlate(_tenants).scalar_subquery().label("actors")
    return [Tenant(**row._mapping) for row in tx.rows(select(_tenants, number).order_by(_tenants.c.created_at))]


def suspend(tx: Transaction, tenant_id: str) -> None:
    """Refuse all calls of a tenant from the commit on, and end its connections. Raises `NotFound` and `Conflict`."""
    _set(tx, tenant_id, tx.now)


def resume(tx: Transaction, tenant_id: str) -> None:
    """Accept the calls of a tenant again. Raises `NotFound` and `Conflict`."""
    _set(tx, tenant_id, None)


def _set(tx: Transaction, tenant_id: str, moment: str | None) -> None:
    row = tx.first(select(_tenants.c.suspended_at).where(_tenants.c.tenant_id == tenant_id))
    if row is None:
        raise NotFound(f"there is no tenant {tenant_id}", hint="moot server tenant list shows the ids")
    if (row.suspended_at is None) == (moment is None):
        raise Conflict(f"{tenant_id} is {'not suspended' if moment is None else 'suspended already'}")
    tx.execute(update(_tenants).where(_tenants.c.tenant_id == tenant_id).values(suspended_at=moment))
    actors = tables.actors.c
    for (actor_id,) in tx.rows(select(actors.actor_id).where(actors.tenant_id == tenant_id)):
        tx.announce(AccessChanged(actor_id))
