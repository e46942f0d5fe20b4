"""Summaries of sessions of a harness, one for each session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity.callers import Caller
from moot.server.objects import pages
from moot.server.results import Archive
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import Conflict, NotFound

_archives = tables.archives


def add(
    tx: Transaction, caller: Caller, room: Room, *, session_id: str, summary: str, metadata: Mapping[str, Any] | None
) -> Archive:
    """Keep the summary of a session. Raises `Conflict` when this session has one."""
    archive_id = new_id("arc")
    values = {"archive_id": archive_id, "session_id": session_id, "summary": summary, "metadata": metadata}
    made = {"space_key": room.key, "actor_id": caller.actor_id, "created_at": tx.now}
    if not tx.insert_if_new(_archives, {**values, **made}):
        raise Conflict(f"Session {session_id} already archived")
    return _find(tx, room, archive_id)


def get(tx: Transaction, caller: Caller, space_id: str, archive_id: str) -> Archive:
    """Return an archive. Raises `NotFound`."""
    return _find(tx, spaces.find(tx, caller, space_id), archive_id)


def _find(tx: Transaction, room: Room, archive_id: str) -> Archive:
    mine = (_archives.c.space_key == room.key, _archives.c.archive_id == archive_id)
    row = tx.first(select(_archives).where(*mine))
    if row is None:
        raise NotFound(f"There is no archive {archive_id}")
    return _archive(row, room)


def all_of(
    tx: Transaction, caller: Caller, space_id: str, *, before: str | None = None, limit: int = pages.MOST
) -> list[Archive]:
    """Return the newest archives of a space, in the order of their making."""
    room = spaces.find(tx, caller, space_id)
    return [_archive(row, room) for row in pages.newest(tx, room, _archives, before=before, limit=limit)]


def _archive(row: Row[Any], room: Room) -> Archive:
    values = dict(row._mapping)
    del values["space_key"]
    return Archive(space_id=room.space_id, **values)
