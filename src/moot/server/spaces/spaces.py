"""Finding, making, changing and listing spaces. A space of another tenant is as if it did not exist."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity.callers import Caller
from moot.server.results import Space, SpaceState
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound

MOST_SPACES = 1000
ACTIVE: SpaceState = "active"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:~-]{0,199}")
_spaces = tables.spaces


@dataclass(frozen=True)
class Room:
    """A space as it is stored, of any tenant; `shown` is what clients get."""

    key: int
    space_id: str
    tenant_id: str
    name: str
    description: str
    status: SpaceState
    links: list[str]
    started_at: str
    last_event_at: str | None
    last_sequence: int
    pruned_sequence: int

    def shown(self) -> Space:
        return Space(
            space_id=self.space_id,
            name=self.name,
            description=self.description,
            status=self.status,
            links=self.links,
            started_at=self.started_at,
            event_count=self.last_sequence - self.pruned_sequence,
            last_sequence=self.last_sequence,
            last_event_at=self.last_event_at,
        )


_COLUMNS = tuple(
    _spaces.c[name]
    for name in (
        "space_key",
        "space_id",
        "tenant_id",
        "name",
        "description",
        "status",
        "links",
        "started_at",
        "last_event_at",
        "last_sequence",
        "pruned_sequence",
    )
)


# Built once: most calls begin with it.
_FIND = select(*_COLUMNS).where(_spaces.c.tenant_id == bindparam("tenant"), _spaces.c.space_id == bindparam("space"))


def find(tx: Transaction, caller: Caller, space_id: str) -> Room:
    """Return a space of the caller's tenant. Raises `NotFound`."""
    row = tx.execute(_FIND, {"tenant": caller.tenant_id, "space": space_id}).first()
    if row is None:
        raise NotFound(f"There is no space {space_id}", hint="POST /api/spaces makes one")
    return _room(row)


def find_active(tx: Transaction, caller: Caller, space_id: str) -> Room:
    """Return a space of the caller's tenant that may be written to. Raises `NotFound` and `Conflict`."""
    room = find(tx, caller, space_id)
    if room.status != ACTIVE:
        raise Conflict("Space is not active", hint="PATCH its status to active, or use another space")
    return room


def by_key(tx: Transaction, space_key: int) -> Room:
    """Return the space with this internal number."""
    row = tx.first(select(*_COLUMNS).where(_spaces.c.space_key == space_key))
    if row is None:
        raise NotFound("The space does not exist any more")
    return _room(row)


def create(
    tx: Transaction, caller: Caller, space_id: str | None = None, *, name: str | None = None, description: str = ""
) -> Room:
    """Return the space with this id; make it first when there is none."""
    if space_id is not None and not _ID.fullmatch(space_id):
        raise InvalidRequest(
            f"{space_id[:50]!r} cannot be the id of a space",
            hint="use up to 200 letters, digits and . _ : ~ - after a letter or digit",
        )
    if space_id is None or not _exists(tx, caller, space_id):
        mine = select(func.count()).select_from(_spaces).where(_spaces.c.tenant_id == caller.tenant_id)
        if tx.execute(mine).scalar_one() >= MOST_SPACES:
            raise Conflict(f"A tenant has at most {MOST_SPACES} spaces", hint="use one of them")
    space_id = space_id or new_id("spc")
    values = {
        "tenant_id": caller.tenant_id,
        "space_id": space_id,
        "name": name or space_id,
        "description": description,
        "status": ACTIVE,
        "links": [],
        "created_by": caller.actor_id,
        "started_at": tx.now,
    }
    tx.insert_if_new(_spaces, values)
    return find(tx, caller, space_id)


def _exists(tx: Transaction, caller: Caller, space_id: str) -> bool:
    return tx.execute(_FIND, {"tenant": caller.tenant_id, "space": space_id}).first() is not None


def change(tx: Transaction, room: Room, changes: Mapping[str, Any]) -> Room:
    """Set the name, description, status or links of a space."""
    if changes:
        tx.execute(update(_spaces).where(_spaces.c.space_key == room.key).values(**changes))
    return by_key(tx, room.key)


def of_tenant(tx: Transaction, caller: Caller, *, status: SpaceState | None = None) -> list[Room]:
    """Return the spaces of the caller's tenant, in the order of their making."""
    statement = select(*_COLUMNS).where(_spaces.c.tenant_id == caller.tenant_id).order_by(_spaces.c.space_key)
    return [_room(row) for row in tx.rows(statement if status is None else statement.where(_spaces.c.status == status))]


def joined(tx: Transaction, caller: Caller, *, status: SpaceState | None = None) -> list[Room]:
    """Return the spaces that the caller has joined, in the order of joining."""
    mine = tables.participants
    statement = (
        select(*_COLUMNS)
        .join(mine, mine.c.space_key == _spaces.c.space_key)
        .where(mine.c.actor_id == caller.actor_id)
        .order_by(mine.c.joined_at)
    )
    return [_room(row) for row in tx.rows(statement if status is None else statement.where(_spaces.c.status == status))]


def _room(row: Row[Any]) -> Room:
    values = dict(row._mapping)
    return Room(key=values.pop("space_key"), **values)
