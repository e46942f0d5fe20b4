"""Copies of a SQLite database, also while servers run. A copy is either complete or does not exist."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from moot.server.database import schema
from moot.server.settings import DATABASE_FILE, Settings
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound
from pyro_mcp.host.files import locked

LOCK_FILE = "server.lock"
_PAGES = 1000


def backup(settings: Settings, target: Path) -> None:
    """Copy the database into a new file. Raises `Conflict` when it exists, `NotFound` when there is no database."""
    source = _file(settings)
    if target.exists():
        raise Conflict(f"{target} exists", hint="name a new file")
    scratch = target.with_name(f".{target.name}.part")
    try:
        _copy(source, scratch)
        os.link(scratch, target)
        _flush(target.parent)
    finally:
        scratch.unlink(missing_ok=True)


def restore(settings: Settings, source: Path) -> None:
    """Replace the database by a backup. The former database stays beside it, with `.before-restore` in its name.

    Raises `Busy` while a server runs on the database, and `InvalidRequest` when the file is not a backup.
    """
    target = _file(settings, must_exist=False)
    with locked(settings.data_folder / LOCK_FILE, deadline_seconds=0, what="the space server"):
        _check(source)
        scratch = target.with_name(f".{DATABASE_FILE}.part")
        try:
            _copy(source, scratch)
            if target.exists():
                with closing(sqlite3.connect(target)) as former:
                    former.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                target.replace(target.with_name(f"{DATABASE_FILE}.before-restore"))
            for name in (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"):
                target.with_name(name).unlink(missing_ok=True)
            scratch.replace(target)
            _flush(target.parent)
        finally:
            scratch.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a database into a file of its own, which is on the disk afterwards."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    # Read in one transaction, so that a server that writes does not make the copy begin anew.
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as from_,
        closing(sqlite3.connect(target)) as to,
    ):
        from_.execute("BEGIN")
        from_.execute("SELECT count(*) FROM alembic_version").fetchone()
        from_.backup(to, pages=_PAGES, sleep=0)
        to.execute("PRAGMA journal_mode=DELETE")
    _flush(target)


def _file(settings: Settings, *, must_exist: bool = True) -> Path:
    if settings.database_url:
        raise InvalidRequest("this copies only the file of SQLite", hint="use pg_dump and pg_restore for PostgreSQL")
    path = settings.data_folder / DATABASE_FILE
    if must_exist and not path.exists():
        raise NotFound(f"{path} does not exist", hint="moot serve makes it; --data-dir names another folder")
    return path


def _check(source: Path) -> None:
    if not source.is_file():
        raise NotFound(f"{source} does not exist")
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as found:
            sound = found.execute("PRAGMA integrity_check").fetchone()[0]
            version = found.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        raise InvalidRequest(f"{source} is not a backup of a space server: {error}") from error
    if sound != "ok":
        raise InvalidRequest(f"{source} is damaged: {sound[:200]}")
    if version > schema.newest():
        raise InvalidRequest(f"{source} is from a newer version of this program", hint="upgrade pyro-mcp first")


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
