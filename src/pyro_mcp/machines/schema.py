"""The tables of the database, and how an older database becomes a current one."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

from pyro_mcp.errors import HostNotReady

MIGRATIONS = (
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
    "ALTER TABLE machines ADD COLUMN revision INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE snapshots ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE snapshots ADD COLUMN root_digest TEXT",
    "ALTER TABLE snapshots ADD COLUMN with_system INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE machines ADD COLUMN trust_host_ca INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE machines ADD COLUMN host_mirrors INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE machines ADD COLUMN baseline INTEGER",
    "ALTER TABLE machines ADD COLUMN boot_id TEXT",
    "ALTER TABLE machines ADD COLUMN expires_uptime REAL",
    "ALTER TABLE machines ADD COLUMN requested_accelerator TEXT",
    "ALTER TABLE machines ADD COLUMN supervisor TEXT",
)
_INCREMENTAL = 2  # of the pragma auto_vacuum
CURRENT = len(MIGRATIONS)
"""The version of the tables that this program works with."""


def is_current(db: sqlite3.Connection, path: Path) -> bool:
    """Return whether the schema is the current one; raise `HostNotReady` for a newer one."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > CURRENT:
        raise HostNotReady(
            f"the database {path} was made by a newer pyro (schema {version}; this one knows {CURRENT})",
            hint="upgrade pyro-mcp, or set XDG_STATE_HOME to another folder",
        )
    return bool(version == CURRENT)


def migrate(db: sqlite3.Connection, path: Path) -> None:
    if is_current(db, path):
        return  # by another process, while we waited
    vacuums = db.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL
    db.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")  # in a new database now, in an older one with VACUUM
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    for done in range(db.execute("PRAGMA user_version").fetchone()[0], CURRENT):
        db.execute(MIGRATIONS[done])
        db.execute(f"PRAGMA user_version = {done + 1}")
    db.execute("COMMIT")
    if not vacuums:
        with suppress(
            sqlite3.OperationalError
        ):  # it takes room for a second copy: without that the database only grows
            db.execute("VACUUM")
