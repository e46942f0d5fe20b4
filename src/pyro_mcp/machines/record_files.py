"""Keep in each machine's folder a file that describes it, so that the database can be lost without the machine.

`record.json` holds the machine's rows of the database. It is written inside the transaction that changes them, just
before the commit, so it is never older than the database. When an older copy of the database was restored, the file's
`revision` is higher than the row's, and the file is right. `deleting` in its place marks a machine whose deletion has
begun: a rename, because that needs no space.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_mcp.host.files import write_atomic

_TABLES = {"machines": "id", "workspaces": "id", "snapshots": "workspace_id", "services": "workspace_id"}
"""The tables that describe a machine, the one that the others refer to first, and the column of the machine's id."""
_RECORD, _DELETING = "record.json", "deleting"

Row = Mapping[str, Any]
_Version = tuple[int, int, int, int]
"""What changes with the content of a file: its inode, size, and times of change in nanoseconds."""


@dataclass(frozen=True)
class MachineRows:
    """The rows of one machine, and the version of the tables that they are for."""

    schema: int
    tables: Mapping[str, Sequence[Row]]

    @property
    def machine(self) -> Row:
        return self.tables["machines"][0]

    @property
    def workspace(self) -> Row | None:
        """None for a one-shot machine, and for a workspace that was never finished."""
        return next(iter(self.tables["workspaces"]), None)

    @property
    def revision(self) -> int:
        """How often the rows had changed."""
        return int(self.machine["revision"])


class RecordFiles:
    """The record files below `folder`, which holds a folder per machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[str, tuple[_Version, MachineRows | None]] = {}

    def folder(self, id_: str) -> Path:
        """Return the folder of a machine."""
        return self._folder / id_

    def ids(self) -> list[str]:
        """Return the names of all folders, also of machines that are not in the database."""
        try:
            with os.scandir(self._folder) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def read(self, id_: str) -> MachineRows | None:
        """Return the rows of a machine as its folder has them; None when there is no file, or none that can be read.

        A file that has not changed since this process read or wrote it is not parsed again.
        """
        path = self.folder(id_) / _RECORD
        try:
            version = _version(path)
            known = self._parsed.get(id_)
            if known is not None and known[0] == version:
                return known[1]
            content = path.read_bytes()
        except OSError:  # it may pass, as when too many files are open
            self._parsed.pop(id_, None)
            return None
        rows = _parse(id_, content)
        self._parsed[id_] = (version, rows)
        return rows

    def write(self, id_: str, rows: MachineRows) -> None:
        """Replace a machine's file, unless its deletion has begun; raises `NoSpace`."""
        if not self.is_deleting(id_):
            path = self.folder(id_) / _RECORD
            write_atomic(path, json.dumps({"schema": rows.schema, **rows.tables}))
            self._parsed[id_] = (_version(path), rows)

    def is_deleting(self, id_: str) -> bool:
        """Return whether the deletion of the machine has begun."""
        return (self.folder(id_) / _DELETING).exists()

    def mark_deleting(self, id_: str) -> None:
        """Mark the machine as being deleted, also on a full disk; twice is a no-op."""
        folder = self.folder(id_)
        self._parsed.pop(id_, None)
        with suppress(OSError):
            (folder / _RECORD).rename(folder / _DELETING)

    def empty(self, id_: str) -> None:
        """Remove everything in a machine's folder but the mark of its deletion; what cannot be removed stays."""
        folder = self.folder(id_)
        for name in os.listdir(folder) if folder.is_dir() else ():
            path = folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif name != _DELETING:
                with suppress(OSError):
                    path.unlink()


def _parse(id_: str, content: bytes) -> MachineRows | None:
    try:
        found = json.loads(content)
        tables = {name: [dict(row) for row in found[name]] for name in _TABLES}
        rows = MachineRows(int(found["schema"]), tables)
        return rows if rows.machine["id"] == id_ and rows.revision >= 0 else None
    except (ValueError, LookupError, TypeError):
        return None


def _version(path: Path) -> _Version:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def rows_of(db: sqlite3.Connection, id_: str) -> MachineRows:
    """Return the rows of a machine in the database; those of an unknown machine are empty."""
    tables = {
        table: [dict(row) for row in db.execute(f"SELECT * FROM {table} WHERE {column} = ?", (id_,))]  # noqa: S608
        for table, column in _TABLES.items()
    }
    return MachineRows(db.execute("PRAGMA user_version").fetchone()[0], tables)


def restore_rows(db: sqlite3.Connection, rows: MachineRows) -> None:
    """Replace a machine's rows in the database."""
    id_ = rows.machine["id"]
    for table in ("snapshots", "services"):
        db.execute(f"DELETE FROM {table} WHERE workspace_id = ?", (id_,))  # noqa: S608
    for table in _TABLES:
        known = {row["name"] for row in db.execute(f"PRAGMA table_info({table})")}
        for row in rows.tables[table]:
            names = [name for name in row if name in known]
            marks, changed = ", ".join("?" for _ in names), ", ".join(f"{name} = excluded.{name}" for name in names)
            db.execute(
                # Replacing the row instead would also remove what refers to it, such as the command history.
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}) ON CONFLICT DO UPDATE SET {changed}",  # noqa: S608
                [row[name] for name in names],
            )
