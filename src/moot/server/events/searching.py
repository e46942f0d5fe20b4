"""Full-text search: SQLite's FTS5, PostgreSQL's tsvector. Every word of a query must be in a message."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, column, func, literal_column, select, table, text

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.results import Found
from moot.server.spaces.spaces import Room

_events = tables.events
_SNIPPET_WORDS = 24
_WORD = re.compile(r"\w+")


def search(tx: Transaction, query: str, rooms: Sequence[Room], limit: int) -> list[Found]:
    """Return the latest messages of these spaces that have all words of a query, the latest first."""
    words = _WORD.findall(query)
    if not words or not rooms:
        return []
    ids = {room.key: room.space_id for room in rooms}
    statement = _postgresql(words) if tx.is_postgresql else _sqlite(words)
    found = tx.rows(statement.where(_events.c.space_key.in_(ids)).limit(limit))
    return [
        Found(
            event_id=row.event_id,
            space_id=ids[row.space_key],
            speaker_id=row.speaker_id,
            speaker_name=row.speaker_name,
            text=row.text,
            timestamp=row.timestamp,
            thread_id=row.thread_id,
            snippet=row.snippet,
        )
        for row in found
    ]


def _sqlite(words: Sequence[str]) -> Select[tuple[object, ...]]:
    index = table("events_search", column("rowid"), column("text"))
    # Each word in quotes is a phrase, so that none of them is an operator of the query language.
    terms = " ".join(f'"{word}"' for word in words)
    snippet: ColumnElement[str] = func.snippet(literal_column("events_search"), 0, "", "", "…", _SNIPPET_WORDS)
    return (
        select(_events, snippet.label("snippet"))
        .join(index, index.c.rowid == _events.c.event_key)
        .where(text("events_search MATCH :terms").bindparams(terms=terms))
        # By the number of the index, which has its entries in that order: nothing is sorted, and nothing more is read.
        .order_by(index.c.rowid.desc())
    )


def _postgresql(words: Sequence[str]) -> Select[tuple[object, ...]]:
    terms = func.plainto_tsquery(literal_column("'simple'"), " ".join(words))
    simple: ColumnElement[str] = literal_column("'simple'::regconfig")
    options = f'MaxWords={_SNIPPET_WORDS}, MinWords=8, StartSel="", StopSel=""'
    return (
        select(_events, func.ts_headline(simple, _events.c.text, terms, options).label("snippet"))
        .where(func.to_tsvector(simple, _events.c.text).op("@@")(terms))
        .order_by(_events.c.event_key.desc())
    )
