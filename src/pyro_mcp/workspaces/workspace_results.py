"""The results that tell of workspaces as wholes."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_mcp.machines import MachineRecord, Secrets
from pyro_mcp.results import SnapshotInfo, UnknownWorkspace, WorkspaceInfo, WorkspaceSummary
from pyro_mcp.workspaces.recovery import Unknown
from pyro_mcp.workspaces.workspace_store import Snapshot, WorkspaceRecord


def workspace_info(
    record: MachineRecord, known: WorkspaceRecord, secrets: Secrets, command_count: int, services: tuple[int, int]
) -> WorkspaceInfo:
    """Return all that `status` tells; `services` is how many services there are, and how many of them run."""
    return {
        "workspace_id": record.id,
        "name": known.name,
        "labels": dict(known.labels),
        "environment": record.environment,
        "environment_version": record.environment_version,
        "state": record.phase.value,
        "execution_mode": record.execution_mode,
        "accelerator": record.accelerator,
        "vcpu_count": record.vcpu_count,
        "mem_mib": record.mem_mib,
        "allow_host_compat": record.allow_host_compat,
        "network_policy": record.network_policy,
        "allow_hosts": record.network.listed,
        "workspace_path": "/workspace",
        "workspace_seed": known.seed,
        "secrets": secrets.described(),
        "command_count": command_count,
        "service_count": services[0],
        "running_service_count": services[1],
        "reset_count": known.reset_count,
        "last_reset_at": known.last_reset_at,
        "created_at": record.created_at,
        "last_activity_at": known.last_activity_at,
        "expires_at": record.expires_at,
        "failure": record.failure,
    }


def workspace_summary(
    record: MachineRecord, known: WorkspaceRecord, command_count: int, services: tuple[int, int]
) -> WorkspaceSummary:
    """Return the line of a workspace in a list; `services` as for `workspace_info`."""
    return {
        "workspace_id": record.id,
        "name": known.name,
        "labels": dict(known.labels),
        "environment": record.environment,
        "state": record.phase.value,
        "created_at": record.created_at,
        "last_activity_at": known.last_activity_at,
        "expires_at": record.expires_at,
        "command_count": command_count,
        "service_count": services[0],
        "running_service_count": services[1],
    }


def snapshot_info(snapshot: Snapshot) -> SnapshotInfo:
    """Return what a list of snapshots tells of one."""
    return {
        "snapshot_name": snapshot.name, "kind": "named", "created_at": snapshot.created_at, "deletable": True,
        "with_system": snapshot.with_system,
    }  # fmt: skip


def unknown_workspaces(found: Sequence[Unknown]) -> list[UnknownWorkspace]:
    """Return what a list tells of the workspaces that the database does not know."""
    return [{"workspace_id": one.id, "name": one.name, "running": one.running, "problem": one.problem} for one in found]
