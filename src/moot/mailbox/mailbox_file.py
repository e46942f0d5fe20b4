"""The SQLite file of a mailbox: its tables, and the statements that several of its calls share."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_BUSY_SECONDS = 20.0
_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    event_id TEXT PRIMARY KEY, space_id TEXT NOT NULL, sequence INTEGER NOT NULL, relevance TEXT NOT NULL,
    speaker_id TEXT NOT NULL, speaker_name TEXT NOT NULL, speaker_type TEXT NOT NULL, text TEXT NOT NULL,
    timestamp TEXT NOT NULL, thread_id TEXT, message_type TEXT,
    urgent INTEGER NOT NULL, added_at REAL NOT NULL, token TEXT, seen_at REAL, acknowledged_at REAL);
CREATE INDEX IF NOT EXISTS unseen ON messages (added_at) WHERE seen_at IS NULL;
CREATE INDEX IF NOT EXISTS unacknowledged ON messages (seen_at) WHERE acknowledged_at IS NULL;
CREATE TABLE IF NOT EXISTS offers (
    token TEXT PRIMARY KEY, road TEXT NOT NULL, session TEXT NOT NULL, offered_at REAL NOT NULL,
    accepted_at REAL);
CREATE TABLE IF NOT EXISTS offered (token TEXT NOT NULL, event_id TEXT NOT NULL, PRIMARY KEY (token, event_id));
CREATE TABLE IF NOT EXISTS returned (event_id TEXT PRIMARY KEY, returned_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS places (space_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, event_id TEXT);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection to a mailbox, whose tables are made if it is new. Raises `sqlite3.DatabaseError`."""
    path.touch(mode=0o600)
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_TABLES)
    except BaseException:
        db.close()
        raise
    return db


def fact_of(db: sqlite3.Connection, name: str) -> str | None:
    """Return a fact that was noted; None when there is none."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()
    return None if row is None else str(row[0])


def note(db: sqlite3.Connection, name: str, value: str | None) -> None:
    """Note a fact, in place of an earlier one; None forgets it."""
    db.execute("DELETE FROM facts WHERE name = ?", [name])
    if value is not None:
        db.execute("INSERT INTO facts VALUES (?, ?)", [name, value])


def leave_the_future(db: sqlite3.Connection, now: float) -> None:
    """Let what was written before the clock was put back be of now; else it would wait for the old time."""
    for table, column in (("messages", "added_at"), ("offers", "offered_at"), ("offers", "accepted_at")):
        db.execute(f"UPDATE {table} SET {column} = ? WHERE {column} > ?", [now, now])  # noqa: S608 - our own names
    failed = "name LIKE 'failed:%' AND CAST(value AS REAL) > ?"
    db.execute(f"UPDATE facts SET value = ? WHERE {failed}", [str(now), now])  # noqa: S608


def void(db: sqlite3.Connection, which: str, *values: str) -> None:
    """Let the messages of these offers wait again, those that were not seen."""
    tokens = f"SELECT token FROM offers WHERE {which}"  # noqa: S608
    db.execute(f"UPDATE messages SET token = NULL WHERE seen_at IS NULL AND token IN ({tokens})", values)  # noqa: S608
