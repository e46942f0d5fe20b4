"""The summary of the work in a workspace, for a person who is about to review the diff."""

from __future__ import annotations

import os
from typing import Any

from pyro_mcp.machines import HOST_COMPAT
from pyro_mcp.results import WorkspaceLogEntry, WorkspaceSummarized
from pyro_mcp.trees import program_that_runs
from pyro_mcp.workspaces.access import WorkspaceAccess
from pyro_mcp.workspaces.workspace_store import WorkspaceStore
from pyro_mcp.workspaces.workspaces import Workspaces

_RECENT = 10


def summarize(
    workspaces: Workspaces, access: WorkspaceAccess, workspace_store: WorkspaceStore, id_: str
) -> WorkspaceSummarized:
    """Return the summary of one workspace, stopped or running."""
    status = workspaces.status(id_)
    logs = access.logs(id_)["entries"]
    events = _since_reset(workspace_store.events(id_))
    failed = [entry for entry in logs if entry["exit_code"] not in (0, None)]
    edits = [event for event in events if event["kind"] in ("edit", "patch", "sync")]
    exports = [event for event in events if event["kind"] == "export"]
    changes: dict[str, object] = {"available": False}
    if status["state"] == "running" and status["execution_mode"] != HOST_COMPAT:
        changes = _changes(access, id_)
    snapshots = workspaces.list_snapshots(id_)["snapshots"]
    return {
        "workspace_id": id_,
        "name": status["name"],
        "labels": status["labels"],
        "environment": status["environment"],
        "state": status["state"],
        "likely_secrets": status["workspace_seed"]["likely_secrets"],
        "reset_count": status["reset_count"],
        "last_reset_at": status["last_reset_at"],
        "outcome": {
            "commands": len(logs),
            "failed_commands": len(failed),
            "edits": sum(event["kind"] != "patch" for event in edits),
            "patches": sum(event["kind"] == "patch" for event in edits),
            "exports": len(exports),
            "changed_files": changes.get("total"),
            "snapshots": len(snapshots) - 1,
            "services": status["service_count"],
        },
        "commands": {
            "total": len(logs),
            "failed": len(failed),
            "recent": [_short(entry) for entry in reversed(logs[-_RECENT:])],
        },
        "edits": list(reversed(edits[-_RECENT:])),
        "changes": changes,
        "services": {
            "total": status["service_count"],
            "running": status["running_service_count"],
            "recent": [event for event in reversed(events) if event["kind"] == "service"][:_RECENT],
        },
        "artifacts": list(reversed(exports[-_RECENT:])),
        "snapshots": snapshots,
    }


def _since_reset(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events since the last reset."""
    last = max((place for place, event in enumerate(events) if event["kind"] == "reset"), default=-1)
    return events[last + 1 :]


def _changes(access: WorkspaceAccess, id_: str) -> dict[str, object]:
    found = access.diff(id_, patch=False)
    first = [{"path": entry["path"], "status": entry["status"]} for entry in found["entries"][:_RECENT]]
    running = [
        {"path": entry["path"], "tool": tool}
        for entry in found["entries"]
        if entry["status"] != "deleted" and (tool := program_that_runs(os.fsencode(entry["path"])))
    ]
    return {
        "available": True,
        "changed": found["changed"],
        **found["summary"],
        "ignored_count": found["ignored_count"],
        "first": first,
        "self_running": running[:_RECENT],
    }


def _short(entry: WorkspaceLogEntry) -> dict[str, object]:
    names = ("sequence", "command", "exit_code", "timed_out", "duration_ms", "started_at")
    return {name: value for name, value in entry.items() if name in names}
