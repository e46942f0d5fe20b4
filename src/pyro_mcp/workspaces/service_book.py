"""What is known of services on the host; what they do now, their machine knows."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

from pyro_mcp.errors import NotFound
from pyro_mcp.results import ServiceState
from pyro_mcp.workspaces.store import Store

Readiness = dict[str, object]
_GOING = ("starting", "running")


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
    readiness: Readiness | None
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


class ServiceBook:
    """The services in one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, service: Service) -> Service:
        """Keep this as the service of its name."""
        row = {**vars(service)}
        for name in ("command", "readiness", "ports", "secret_env"):
            row[name] = json.dumps(row[name])
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        with self._store.transaction() as connection:
            connection.execute(f"INSERT OR REPLACE INTO services ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608
        return service

    def change(self, service: Service, **changes: Any) -> Service:
        """Keep a service with some fields changed."""
        return self.put(replace(service, **changes))

    def remove(self, service: Service) -> None:
        """Forget a service that never ran."""
        with self._store.transaction() as connection:
            connection.execute(
                "DELETE FROM services WHERE workspace_id = ? AND name = ?", (service.workspace_id, service.name)
            )

    def get(self, workspace_id: str, name: str) -> Service:
        """One service; raises `NotFound`."""
        known = self.of(workspace_id)
        for one in known:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in known)
        raise NotFound(
            f"{workspace_id} has no service {name!r}", hint=f"it has: {names}" if names else "none was started in it"
        )

    def of(self, workspace_id: str) -> list[Service]:
        """The services of a workspace, oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT * FROM services WHERE workspace_id = ? ORDER BY started_at", (workspace_id,)
            ).fetchall()
        return [_service(row) for row in rows]

    def counts(self) -> dict[str, tuple[int, int]]:
        """How many services each workspace has, and how many of them run, as far as is known."""
        with self._store.reading() as connection:
            rows = connection.execute(
                "SELECT workspace_id, COUNT(*), SUM(state IN ('starting', 'running') AND machines.phase = 'running' "
                "AND machines.pid = machine) FROM services JOIN machines ON machines.id = workspace_id "
                "GROUP BY workspace_id"
            ).fetchall()
        return {str(row[0]): (int(row[1]), int(row[2])) for row in rows}


def _service(row: sqlite3.Row) -> Service:
    values = dict(row)
    values["command"], values["readiness"] = json.loads(row["command"]), json.loads(row["readiness"])
    values["ports"] = tuple((int(host), int(guest)) for host, guest in json.loads(row["ports"]))
    values["secret_env"] = tuple(json.loads(row["secret_env"]))
    return Service(**values)
