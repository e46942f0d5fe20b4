"""Persistent workspaces: a machine with a name, a tree at /workspace, a history and snapshots."""

from __future__ import annotations

from pyro_mcp.workspaces.access import OpenWorkspace, ToolOf, WorkspaceAccess
from pyro_mcp.workspaces.environment_saver import EnvironmentSaver
from pyro_mcp.workspaces.environments_in_use import EnvironmentsInUse, environments_in_use
from pyro_mcp.workspaces.recovery import Recovery, RepairReport
from pyro_mcp.workspaces.seeds import SeedOrigin
from pyro_mcp.workspaces.service_store import Service, ServiceStore, find_service
from pyro_mcp.workspaces.stopped_disk import StoppedDisks, remove_abandoned_exports
from pyro_mcp.workspaces.summary import summarize
from pyro_mcp.workspaces.system_files import system_tree
from pyro_mcp.workspaces.workspace_store import BASELINE, Snapshot, WorkspaceStore
from pyro_mcp.workspaces.workspaces import Workspaces

__all__ = [
    "BASELINE",
    "EnvironmentSaver",
    "EnvironmentsInUse",
    "OpenWorkspace",
    "Recovery",
    "RepairReport",
    "SeedOrigin",
    "Service",
    "ServiceStore",
    "Snapshot",
    "StoppedDisks",
    "ToolOf",
    "WorkspaceAccess",
    "WorkspaceStore",
    "Workspaces",
    "environments_in_use",
    "find_service",
    "remove_abandoned_exports",
    "summarize",
    "system_tree",
]
