"""Copies of a SQLite database, also while servers run. A copy is either complete or does not exist."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from moot.server.database import schema
from moot.server.settings import DATABASE_FILE, Settings
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NotFound
from pyro_mcp.host.files import locked, private_directory

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
    except sqlite3.DatabaseError as error:
        raise HostNotReady(f"{source} cannot be copied: {error}", hint="moot server doctor checks it") from error
    finally:
        scratch.unlink(missing_ok=True)


def restore(settings: Settings, source: Path) -> None:
    """Replace the database by a backup. The former database stays beside it, with `.before-restore` in its name.

    Raises `Busy` while a server runs on the database, and `InvalidRequest` when the file is not a backup.
    """
    target = _file(settings, must_exist=False)
    private_directory(settings.data_folder)
    with locked(settings.data_folder / LOCK_FILE, deadline_seconds=0, what="the space server"):
        _check(source)
        scratch = target.with_name(f".{DATABASE_FILE}.part")
        try:
            _copy(source, scratch)
            if target.exists():
                _keep(target)
            # The log of the former database must not be applied to the restored one. Until the next line but one, the
            # former database is at its place, whole: what was in the log is in it, or is kept.
            for name in (f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"):
                target.with_name(name).unlink(missing_ok=True)
            scratch.replace(target)
            _flush(target.parent)
        finally:
            scratch.unlink(missing_ok=True)


def _keep(database: Path) -> None:
    """Give a database a second name beside it, with `.before-restore` and the first number that is free."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as former:  # a damaged one is kept as it is
        former.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in itertools.count(1):
        kept = database.with_name(f"{database.name}.before-restore{f'-{number}' if number > 1 else ''}")
        try:
            os.link(database, kept)
        except FileExistsError:
            continue
        log = database.with_name(f"{database.name}-wal")
        if log.exists():
            os.link(log, kept.with_name(f"{kept.name}-wal"))
        return


def _copy(source: Path, target: Path) -> None:
    """Copy a database into a file of its own, which is on the disk afterwards."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600))
    # Read in one transaction, so that a server that writes does not make the copy begin anew.
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as from_,
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
        with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as found:
            sound = found.execute("PRAGMA integrity_check").fetchone()[0]
            version = found.execute("SELECT version_num FROM alembic_version").fetchone()[0]
    except sqlite3.Error as error:
        raise InvalidRequest(f"{source} is not a backup of a space server: {error}") from error
    if sound != "ok":
        raise InvalidRequest(f"{source} is damaged: {sound[:200]}")
    if version not in schema.known():
        raise InvalidRequest(f"{source} is from a newer version of this program", hint="upgrade pyro-mcp first")


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
