"""The one database: which machines exist, in which phase, and what they own on the host.

SQLite in WAL mode, so readers never wait for a writer; transactions are short. The schema grows by `_MIGRATIONS`;
a database that is newer than this program, or damaged, is an error and is left alone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from pyro_mcp.engine import Identity, Shape
from pyro_mcp.errors import HostNotReady, NoSpace, NotFound
from pyro_mcp.host.files import keep_reserve, locked
from pyro_mcp.workspaces.links import OFF, Link
from pyro_mcp.workspaces.phases import Phase, check_transition

_MIGRATIONS = (
    """
    CREATE TABLE machines (
        id TEXT PRIMARY KEY,
        environment TEXT NOT NULL,
        environment_version TEXT NOT NULL,
        vcpu_count INTEGER NOT NULL,
        mem_mib INTEGER NOT NULL,
        allow_host_compat INTEGER NOT NULL,
        phase TEXT NOT NULL,
        created_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        execution_mode TEXT,
        accelerator TEXT,
        pid INTEGER,
        process_start_time INTEGER,
        failure TEXT,
        layers TEXT NOT NULL,
        generation INTEGER NOT NULL,
        root_digest TEXT,
        one_shot INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE workspaces (
        id TEXT PRIMARY KEY REFERENCES machines (id) ON DELETE CASCADE,
        name TEXT,
        labels TEXT NOT NULL,
        seed TEXT NOT NULL,
        network_policy TEXT NOT NULL,
        last_activity_at REAL NOT NULL,
        reset_count INTEGER NOT NULL DEFAULT 0,
        last_reset_at REAL
    ) STRICT
    """,
    """
    CREATE TABLE snapshots (
        workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        layers TEXT NOT NULL,
        created_at REAL NOT NULL,
        PRIMARY KEY (workspace_id, name)
    ) STRICT
    """,
    """
    CREATE TABLE commands (
        id INTEGER PRIMARY KEY,
        workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
        command TEXT NOT NULL,
        started_at REAL NOT NULL,
        result TEXT
    ) STRICT
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
        at REAL NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX commands_of ON commands (workspace_id)",
    "CREATE INDEX events_of ON events (workspace_id)",
    "ALTER TABLE workspaces DROP COLUMN network_policy",
    "ALTER TABLE machines ADD COLUMN network_policy TEXT NOT NULL DEFAULT 'off'",
    "ALTER TABLE machines ADD COLUMN allow_hosts TEXT NOT NULL DEFAULT '[]'",
    """
    CREATE TABLE services (
        workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        command TEXT NOT NULL,
        cwd TEXT NOT NULL,
        readiness TEXT NOT NULL,
        ports TEXT NOT NULL,
        secret_env TEXT NOT NULL,
        machine INTEGER NOT NULL,
        state TEXT NOT NULL,
        started_at REAL NOT NULL,
        ready_by REAL NOT NULL,
        ready_at REAL,
        ended_at REAL,
        exit_code INTEGER,
        pid INTEGER,
        failure TEXT,
        PRIMARY KEY (workspace_id, name)
    ) STRICT
    """,
)
_BUSY_SECONDS = 10.0


@dataclass(frozen=True)
class Record:
    """One machine as the database knows it; times in seconds since 1970."""

    id: str
    environment: str
    environment_version: str
    vcpu_count: int
    mem_mib: int
    allow_host_compat: bool
    phase: Phase
    created_at: float
    expires_at: float
    execution_mode: str | None = None
    accelerator: str | None = None
    pid: int | None = None
    process_start_time: int | None = None
    failure: str | None = None
    layers: tuple[str, ...] = ("l0",)
    """The layers of its disk, lowest first. One that was never put to use may be among them; it is empty then."""
    generation: int = 0
    root_digest: str | None = None
    """The environment's image that its disk lies upon, from its first start on."""
    one_shot: bool = False
    """Made for one command by a caller that waits for it: without that caller nobody knows it."""
    network_policy: str = OFF
    allow_hosts: tuple[str, ...] = ()

    @property
    def identity(self) -> Identity | None:
        if self.pid is None or self.process_start_time is None:
            return None
        return Identity(self.pid, self.process_start_time)

    @property
    def shape(self) -> Shape:
        return Shape(self.vcpu_count, self.mem_mib, self.link.on)

    @property
    def link(self) -> Link:
        return Link(self.network_policy, self.allow_hosts)

    @property
    def expired(self) -> bool:
        return time.time() >= self.expires_at


_COLUMNS = tuple(field.name for field in fields(Record))


class Store:
    """The database at `path`; every method is one short transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Space that is given back when the disk is full, so that machines can still be listed and deleted.
        self._reserve = path.with_name("reserve")
        with self.reading() as connection:
            current = _is_current(connection, path)
        if not current:
            # SQLite does not wait when two processes want to switch a new database to WAL.
            with (
                locked(path.with_name(f"{path.name}.lock"), deadline_seconds=_BUSY_SECONDS),
                self.reading() as connection,
            ):
                _migrate(connection, path)

    def release_reserve(self) -> None:
        """Make room for a few transactions on a disk that is full."""
        self._reserve.unlink(missing_ok=True)

    def add(self, record: Record) -> None:
        marks = ", ".join("?" for _ in _COLUMNS)
        with self.transaction() as connection:
            connection.execute(
                f"INSERT INTO machines ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - our own column names
                tuple(_stored(getattr(record, name)) for name in _COLUMNS),
            )
        keep_reserve(self._reserve)

    def get(self, id_: str) -> Record:
        """The record of `id_`; raises `NotFound`."""
        with self.reading() as connection:
            return _get(connection, id_)

    def all(self) -> list[Record]:
        """Every record, newest first."""
        with self.reading() as connection:
            rows = connection.execute("SELECT * FROM machines ORDER BY created_at DESC").fetchall()
        return [_record(row) for row in rows]

    def move(
        self,
        id_: str,
        phase: Phase,
        also: Callable[[sqlite3.Connection], None] | None = None,
        **changes: str | float | tuple[str, ...] | None,
    ) -> Record:
        """Change the phase (raises `Conflict` when the table of transitions forbids it) and other columns.

        What `also` does with the connection happens with it, or not at all.
        """
        columns = {"phase": str(phase), **changes}
        unknown = columns.keys() - set(_COLUMNS)
        if unknown:
            raise ValueError(f"no such columns: {unknown}")
        with self.transaction() as connection:
            check_transition(id_, _get(connection, id_).phase, phase)
            assignments = ", ".join(f"{name} = ?" for name in columns)
            values = (*map(_stored, columns.values()), id_)
            connection.execute(f"UPDATE machines SET {assignments} WHERE id = ?", values)  # noqa: S608
            if also is not None:
                also(connection)
            return _get(connection, id_)

    def remove(self, id_: str) -> None:
        with self.transaction() as connection:
            connection.execute("DELETE FROM machines WHERE id = ?", (id_,))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done in the block happens, or nothing of it. Keep it short: writers wait for each other."""
        with self.reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for single statements, which never wait for a writer; foreign errors become ours."""
        try:
            connection = self._connect()
            try:
                yield connection
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            if "disk is full" in str(error) or ("disk I/O" in str(error) and _is_full(self._path.parent)):
                raise NoSpace(f"the disk that holds {self._path} is full", hint="free some space there") from error
            raise HostNotReady(f"cannot use the database {self._path}: {error}") from error
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise HostNotReady(
                f"the database {self._path} is damaged: {error}",
                hint="nothing was changed; move the file away to start anew, or restore it from a backup",
            ) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            return _opened(self._path)
        except sqlite3.OperationalError:
            if not (self._reserve.exists() and _is_full(self._path.parent)):
                raise
            self.release_reserve()  # even reading needs a file of 32 KiB beside the database
            return _opened(self._path)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        # NORMAL is safe in WAL mode: a power cut may lose the last transaction, never the database.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _get(connection: sqlite3.Connection, id_: str) -> Record:
    row = connection.execute("SELECT * FROM machines WHERE id = ?", (id_,)).fetchone()
    if row is None:
        raise NotFound(f"there is no machine {id_!r}", hint="it may have been deleted or have expired")
    return _record(row)


def _record(row: sqlite3.Row) -> Record:
    values = {name: row[name] for name in _COLUMNS}
    values["phase"] = Phase(row["phase"])
    values["allow_host_compat"], values["one_shot"] = bool(row["allow_host_compat"]), bool(row["one_shot"])
    values["layers"], values["allow_hosts"] = tuple(json.loads(row["layers"])), tuple(json.loads(row["allow_hosts"]))
    return Record(**values)


def _is_full(folder: Path) -> bool:
    return os.statvfs(folder).f_bavail < 256  # blocks: less than SQLite's side files may need


def _stored(value: object) -> object:
    return json.dumps(value) if isinstance(value, tuple) else value


def _is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the schema is the one we know; raises `HostNotReady` for a newer one."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise HostNotReady(
            f"the database {path} was made by a newer pyro (schema {version}; this one knows {len(_MIGRATIONS)})",
            hint="upgrade pyro-mcp, or set XDG_STATE_HOME to another folder",
        )
    return bool(version == len(_MIGRATIONS))


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    if _is_current(connection, path):
        return  # by another process, while we waited
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for done in range(connection.execute("PRAGMA user_version").fetchone()[0], len(_MIGRATIONS)):
        connection.execute(_MIGRATIONS[done])
        connection.execute(f"PRAGMA user_version = {done + 1}")
    connection.execute("COMMIT")
