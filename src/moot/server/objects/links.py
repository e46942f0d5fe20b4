"""Links from a space to another one, or to a URI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, insert, or_, select

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity.callers import Caller
from moot.server.objects import pages
from moot.server.results import Link
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import InvalidRequest, NotFound

_links = tables.links


def add(
    tx: Transaction,
    caller: Caller,
    room: Room,
    *,
    link_type: str,
    target_id: str | None,
    target_uri: str | None,
    attributes: Mapping[str, Any] | None,
) -> Link:
    """Link a space. Raises `NotFound` for a target space that the caller cannot see."""
    if (target_id is None) == (target_uri is None):
        raise InvalidRequest("give either target_id or target_uri")
    if target_id is not None:
        spaces.find(tx, caller, target_id)
    link_id = new_id("lnk")
    values = {"link_type": link_type, "target_id": target_id, "target_uri": target_uri, "attributes": attributes}
    made = {"link_id": link_id, "space_key": room.key, "created_by": caller.actor_id, "created_at": tx.now}
    tx.execute(insert(_links).values(**values, **made))
    row = tx.rows(select(_links).where(_links.c.link_id == link_id))[0]
    return _link(row, room)


def all_of(
    tx: Transaction,
    caller: Caller,
    space_id: str,
    link_type: str | None = None,
    *,
    before: str | None = None,
    limit: int = pages.MOST,
) -> list[Link]:
    """Return the newest links of a space, in the order of their making."""
    room = spaces.find(tx, caller, space_id)
    where = [] if link_type is None else [_links.c.link_type == link_type]
    return [_link(row, room) for row in pages.newest(tx, room, _links, *where, before=before, limit=limit)]


def remove(tx: Transaction, room: Room, link_id: str) -> None:
    """Remove a link. Raises `NotFound`."""
    mine = (_links.c.space_key == room.key, _links.c.link_id == link_id)
    if tx.execute(delete(_links).where(*mine)).rowcount == 0:
        raise NotFound(f"There is no link {link_id}")


def linked_rooms(tx: Transaction, caller: Caller, space_id: str) -> list[Room]:
    """Return a space, and those that it links to or that link to it."""
    room = spaces.find(tx, caller, space_id)
    which = or_(_links.c.space_key == room.key, _links.c.target_id == space_id)
    rows = tx.rows(select(_links.c.space_key, _links.c.target_id).where(which))
    keys, ids = {row.space_key for row in rows}, {row.target_id for row in rows}
    return [
        one for one in spaces.of_tenant(tx, caller) if one.key in keys or one.space_id in ids or one.key == room.key
    ]


def _link(row: Row[Any], room: Room) -> Link:
    values = dict(row._mapping)
    del values["space_key"]
    return Link(space_id=room.space_id, **values)
