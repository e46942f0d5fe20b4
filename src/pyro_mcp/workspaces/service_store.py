"""The services in the database; their current state is in the guest."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from pyro_mcp.errors import Conflict, NotFound
from pyro_mcp.machines import MachineStore
from pyro_mcp.results import ServiceState

ReadinessSpec = dict[str, object]
_GOING = ("starting", "running")
_AS_JSON = ("command", "readiness", "ports", "secret_env")
_LEEWAY_SECONDS = 10.0


@dataclass(frozen=True)
class Service:
    """One service as the database knows it; times in seconds since 1970.

    `machine` is the process of the machine that it was started in; it ends with that. `ports` are pairs of a host port
    and a guest port. Whoever starts it gives up at `ready_by`.
    """

    workspace_id: str
    name: str
    command: str | list[str]
    cwd: str
    readiness: ReadinessSpec | None
    ports: tuple[tuple[int, int], ...]
    secret_env: tuple[str, ...]
    machine: int
    state: ServiceState
    started_at: float
    ready_by: float
    ready_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    pid: int | None = None
    failure: str | None = None

    @property
    def going(self) -> bool:
        """Whether it runs, as far as is known."""
        return self.state in _GOING

    def overdue(self, now: float) -> bool:
        """Return whether the process that started it must have died."""
        return self.state == "starting" and now > self.ready_by + _LEEWAY_SECONDS

    def about_to_start(self, now: float) -> bool:
        """Return whether it is recorded, and another process is about to start it."""
        return self.state == "starting" and self.pid is None and not self.overdue(now)


class ServiceStore:
    """The services in one store."""

    def __init__(self, store: MachineStore) -> None:
        self._store = store

    def kept_open(self) -> AbstractContextManager[None]:
        """Open the database once for everything that this thread does with it in the block."""
        return self._store.kept_open()

    def begin(self, service: Service, seen: Service | None) -> Service:
        """Record a service that is about to start in place of `seen`, the former record of that name.

        Raises `Conflict` when another client starts one of that name, or has started it since `seen` was read.
        """
        row = _row(service)
        names, marks = ", ".join(row), ", ".join("?" for _ in row)
        with self._store.update_machine(service.workspace_id) as db:
            known = db.execute(
                "SELECT * FROM services WHERE workspace_id = ? AND name = ? AND machine = ?",
                (service.workspace_id, service.name, service.machine),
            ).fetchone()
            found = _service(known) if known else None
            if found and found.going and (found != seen or found.about_to_start(service.started_at)):
                raise Conflict(f"another client is just starting the service {service.name}", hint="look at its status")
            db.execute(f"INSERT OR REPLACE INTO services ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
        return service

    def change(self, service: Service, **changes: Any) -> Service:
        """Change some fields of a service; return its current record if another client has changed its state."""
        changed = replace(service, **changes)
        row = _row(changed)
        fields = ", ".join(f"{name} = ?" for name in row)
        with self._store.update_machine(service.workspace_id) as db:
            done = db.execute(
                f"UPDATE services SET {fields} WHERE workspace_id = ? AND name = ? AND started_at = ? AND state = ?",  # noqa: S608
                (*row.values(), service.workspace_id, service.name, service.started_at, service.state),
            )
        return changed if done.rowcount else self.get(service.workspace_id, service.name)

    def remove(self, service: Service) -> None:
        """Forget a service that never ran."""
        with self._store.update_machine(service.workspace_id) as db:
            db.execute(
                "DELETE FROM services WHERE workspace_id = ? AND name = ? AND started_at = ?",
                (service.workspace_id, service.name, service.started_at),
            )

    def get(self, workspace_id: str, name: str) -> Service:
        """Return one service; raises `NotFound`."""
        return find_service(self.of(workspace_id), workspace_id, name)

    def of(self, workspace_id: str) -> list[Service]:
        """Return the services of a workspace, oldest first."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT * FROM services WHERE workspace_id = ? ORDER BY started_at", (workspace_id,)
            ).fetchall()
        return [_service(row) for row in rows]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Count the services of each workspace, and those recorded as running."""
        with self._store.reading() as db:
            rows = db.execute(
                "SELECT workspace_id, COUNT(*), SUM(state IN ('starting', 'running') AND machines.phase = 'running' "
                "AND machines.pid = machine) FROM services JOIN machines ON machines.id = workspace_id "
                "GROUP BY workspace_id"
            ).fetchall()
        return {str(row[0]): (int(row[1]), int(row[2])) for row in rows}


def find_service(services: Sequence[Service], workspace_id: str, name: str) -> Service:
    """Return the service of a workspace that has this name; raises `NotFound`."""
    for one in services:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in services)
    raise NotFound(
        f"{workspace_id} has no service {name!r}", hint=f"it has: {names}" if names else "none was started in it"
    )


def _row(service: Service) -> dict[str, Any]:
    return {**vars(service), **{name: json.dumps(getattr(service, name)) for name in _AS_JSON}}


def _service(row: sqlite3.Row) -> Service:
    values = dict(row)
    values["command"], values["readiness"] = json.loads(row["command"]), json.loads(row["readiness"])
    values["ports"] = tuple((int(host), int(guest)) for host, guest in json.loads(row["ports"]))
    values["secret_env"] = tuple(json.loads(row["secret_env"]))
    return Service(**values)
