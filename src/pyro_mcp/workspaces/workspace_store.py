"""The workspaces in the database: names, snapshots, and the history of commands and events."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pyro_mcp.errors import Conflict, NotFound
from pyro_mcp.hints import Hint, Verb, near_match
from pyro_mcp.machines import MachineStore
from pyro_mcp.results import WorkspaceSeed

BASELINE = "baseline"
"""The snapshot that every workspace has: as it was created."""

EventKind = Literal["edit", "patch", "export", "sync", "snapshot", "reset", "service", "shell", "disk", "adopt"]


# What the seeds of earlier versions do not say.
_OLD_SEED: Mapping[str, Any] = {"ignored_count": 0, "ignored_bytes": 0, "likely_secrets": [], "remarks": []}


@dataclass(frozen=True)
class WorkspaceRecord:
    """One workspace as the database knows it; times in seconds since 1970."""

    id: str
    name: str | None
    labels: Mapping[str, str]
    seed: WorkspaceSeed
    last_activity_at: float = field(default_factory=time.time)
    reset_count: int = 0
    last_reset_at: float | None = None


@dataclass(frozen=True)
class Snapshot:
    """A named point of a workspace: the layers that its disk consisted of.

    `generation` says which of their systems was in use, on the build `root_digest` of the environment. A reset restores
    that system only when the snapshot was made `with_system`.
    """

    name: str
    layers: tuple[str, ...]
    created_at: float
    generation: int = 0
    root_digest: str | None = None
    with_system: bool = False


@dataclass(frozen=True)
class CommandRecord:
    """One command of a workspace's history; `result` is None while it runs, or if it never ended."""

    id: int
    command: str | list[str]
    started_at: float
    result: dict[str, Any] | None


class WorkspaceStore:
    """The workspaces in one store."""

    def __init__(self, store: MachineStore) -> None:
        self._store = store

    def add(self, record: WorkspaceRecord) -> None:
        with self._store.update_machine(record.id) as db:
            db.execute(
                "INSERT INTO workspaces (id, name, labels, seed, last_activity_at) VALUES (?, ?, ?, ?, ?)",
                (record.id, record.name, json.dumps(record.labels), json.dumps(record.seed), record.last_activity_at),
            )

    def get(self, id_: str) -> WorkspaceRecord:
        """Return the workspace; raises `NotFound`."""
        self._store.refresh(id_)
        with self._store.reading() as db:
            row = db.execute("SELECT * FROM workspaces WHERE id = ?", (id_,)).fetchone()
        if row is None:
            raise NotFound(
                f"there is no workspace {id_!r}", hint=Hint("{} shows the workspaces", Verb("workspace list"))
            )
        return _workspace(row)

    def named(self, name: str) -> str:
        """Return the id of the one workspace with this name; raise `NotFound`, `Conflict` when several have it."""
        self._store.refresh()
        with self._store.reading() as db:
            rows = db.execute("SELECT id FROM workspaces WHERE name = ? ORDER BY id", (name,)).fetchall()
        if not rows:
            raise NotFound(f"there is no workspace {name!r}", hint=self._near(name))
        ids = [str(row["id"]) for row in rows]
        if len(ids) > 1:
            raise Conflict(f"{len(ids)} workspaces are named {name!r}: {', '.join(ids)}", hint="use the id of one")
        return ids[0]

    def _near(self, name: str) -> Hint:
        """Return a hint with the name of a workspace that is most like `name`."""
        with self._store.reading() as connection:
            names = [row["name"] for row in connection.execute("SELECT name FROM workspaces WHERE name IS NOT NULL")]
        shows = Hint("{} shows the workspaces", Verb("workspace list"))
        return Hint.joined(near_match(name, names), shows, separator=" ")

    def has(self, id_: str) -> bool:
        """Return whether there is such a workspace."""
        with self._store.reading() as db:
            return db.execute("SELECT 1 FROM workspaces WHERE id = ?", (id_,)).fetchone() is not None

    def ids(self) -> set[str]:
        """Return the ids of all workspaces."""
        with self._store.reading() as db:
            return {str(row["id"]) for row in db.execute("SELECT id FROM workspaces")}

    def all(self) -> list[WorkspaceRecord]:
        """Return every workspace, the most recently active first."""
        self._store.refresh()
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM workspaces ORDER BY last_activity_at DESC, id").fetchall()
        return [_workspace(row) for row in rows]

    def command_counts(self) -> dict[str, int]:
        """Count the commands in each workspace's history."""
        with self._store.reading() as db:
            rows = db.execute("SELECT workspace_id, COUNT(*) FROM commands GROUP BY workspace_id").fetchall()
        return {str(row[0]): int(row[1]) for row in rows}

    def command_count(self, id_: str) -> int:
        """Count the commands in a workspace's history."""
        with self._store.reading() as db:
            return int(db.execute("SELECT COUNT(*) FROM commands WHERE workspace_id = ?", (id_,)).fetchone()[0])

    def describe(self, id_: str, name: str | None, labels: Mapping[str, str]) -> None:
        """Change the name and labels of a workspace."""
        with self._store.update_machine(id_) as db:
            db.execute(
                "UPDATE workspaces SET name = ?, labels = ?, last_activity_at = ? WHERE id = ?",
                (name, json.dumps(labels), time.time(), id_),
            )

    def touch(self, id_: str) -> None:
        """Note that the workspace was used just now."""
        with self._store.transaction() as db:
            db.execute("UPDATE workspaces SET last_activity_at = ? WHERE id = ?", (time.time(), id_))

    def reset_changes(self, id_: str) -> Callable[[sqlite3.Connection], None]:
        """Return the changes of a reset, for its transaction: no history, no services, one more reset."""

        def forget(db: sqlite3.Connection) -> None:
            now = time.time()
            db.execute("DELETE FROM commands WHERE workspace_id = ?", (id_,))
            db.execute("DELETE FROM services WHERE workspace_id = ?", (id_,))
            db.execute(
                "UPDATE workspaces SET reset_count = reset_count + 1, last_reset_at = ?, last_activity_at = ? "
                "WHERE id = ?",
                (now, now, id_),
            )

        return forget

    # --- snapshots ---

    def add_snapshot(self, id_: str, snapshot: Snapshot) -> None:
        """Keep a snapshot; raises `Conflict` when its name is taken."""
        with self._store.update_machine(id_) as db:
            taken = db.execute(
                "SELECT 1 FROM snapshots WHERE workspace_id = ? AND name = ?", (id_, snapshot.name)
            ).fetchone()
            if taken:
                raise Conflict(f"there is a snapshot {snapshot.name!r} already", hint="delete it, or take another name")
            db.execute(
                "INSERT INTO snapshots (workspace_id, name, layers, created_at, generation, root_digest, with_system)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    id_,
                    snapshot.name,
                    json.dumps(snapshot.layers),
                    snapshot.created_at,
                    snapshot.generation,
                    snapshot.root_digest,
                    snapshot.with_system,
                ),
            )

    def snapshots(self, id_: str) -> list[Snapshot]:
        """Return the named snapshots, oldest first, without the baseline."""
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM snapshots WHERE workspace_id = ? ORDER BY created_at", (id_,)).fetchall()
        return [_snapshot(row) for row in rows]

    def snapshot(self, id_: str, name: str) -> Snapshot:
        """Return one named snapshot; raises `NotFound`."""
        known = self.snapshots(id_)
        for one in known:
            if one.name == name:
                return one
        names = ", ".join([BASELINE, *(one.name for one in known)])
        raise NotFound(f"{id_} has no snapshot {name!r}", hint=f"it has: {names}")

    def remove_snapshot(self, id_: str, name: str) -> None:
        with self._store.update_machine(id_) as db:
            db.execute("DELETE FROM snapshots WHERE workspace_id = ? AND name = ?", (id_, name))

    # --- history ---

    def begin_command(self, id_: str, command: str | list[str]) -> int:
        """Add a command to the history before it runs; return its number."""
        now = time.time()
        with self._store.transaction() as db:
            db.execute("UPDATE workspaces SET last_activity_at = ? WHERE id = ?", (now, id_))
            cursor = db.execute(
                "INSERT INTO commands (workspace_id, command, started_at) VALUES (?, ?, ?)",
                (id_, json.dumps(command), now),
            )
            return int(cursor.lastrowid or 0)

    def end_command(self, id_: str, number: int, result: Mapping[str, Any]) -> int:
        """Keep how a command ended, unless a reset has cleared the history; return its position there, from 1."""
        with self._store.transaction() as db:
            db.execute("UPDATE commands SET result = ? WHERE id = ?", (json.dumps(result), number))
            row = db.execute(
                "SELECT COUNT(*) FROM commands WHERE workspace_id = ? AND id <= ?", (id_, number)
            ).fetchone()
        return int(row[0])

    def commands(self, id_: str) -> list[CommandRecord]:
        """Return the history since creation or the last reset, oldest first."""
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM commands WHERE workspace_id = ? ORDER BY id", (id_,)).fetchall()
        return [
            CommandRecord(
                row["id"],
                json.loads(row["command"]),
                row["started_at"],
                json.loads(row["result"]) if row["result"] else None,
            )
            for row in rows
        ]

    def note(self, id_: str, kind: EventKind, detail: Mapping[str, Any]) -> None:
        """Keep one event for the summary."""
        now = time.time()
        with self._store.transaction() as db:
            db.execute("UPDATE workspaces SET last_activity_at = ? WHERE id = ?", (now, id_))
            db.execute(
                "INSERT INTO events (workspace_id, at, kind, detail) VALUES (?, ?, ?, ?)",
                (id_, now, kind, json.dumps(detail)),
            )

    def events(self, id_: str) -> list[dict[str, Any]]:
        """Return the events since creation, oldest first, each with `at` and `kind` beside its own fields."""
        with self._store.reading() as db:
            rows = db.execute("SELECT * FROM events WHERE workspace_id = ? ORDER BY id", (id_,)).fetchall()
        return [{"at": row["at"], "kind": row["kind"], **json.loads(row["detail"])} for row in rows]


def _workspace(row: Any) -> WorkspaceRecord:
    return WorkspaceRecord(
        id=row["id"],
        name=row["name"],
        labels=json.loads(row["labels"]),
        seed=cast(WorkspaceSeed, {**_OLD_SEED, **json.loads(row["seed"])}),
        last_activity_at=row["last_activity_at"],
        reset_count=row["reset_count"],
        last_reset_at=row["last_reset_at"],
    )


def _snapshot(row: sqlite3.Row) -> Snapshot:
    layers = tuple(json.loads(row["layers"]))
    return Snapshot(
        row["name"], layers, row["created_at"], row["generation"], row["root_digest"], bool(row["with_system"])
    )
