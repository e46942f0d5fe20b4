"""Persistent workspaces: a machine with a name, a tree at /workspace, a history and snapshots."""

from __future__ import annotations

from pyro_mcp.workspaces.access import OpenWorkspace, ToolOf, WorkspaceAccess
from pyro_mcp.workspaces.needs import Needs, needs_of
from pyro_mcp.workspaces.recovery import Recovery, Repaired
from pyro_mcp.workspaces.saving import Saving
from pyro_mcp.workspaces.seeds import SeedOrigin
from pyro_mcp.workspaces.service_store import Service, ServiceStore
from pyro_mcp.workspaces.stopped_disk import Offline, sweep_exports
from pyro_mcp.workspaces.summary import summarize
from pyro_mcp.workspaces.system_files import system_tree
from pyro_mcp.workspaces.workspace_store import BASELINE, Snapshot, WorkspaceStore
from pyro_mcp.workspaces.workspaces import Workspaces

__all__ = [
    "BASELINE",
    "Needs",
    "Offline",
    "OpenWorkspace",
    "Recovery",
    "Repaired",
    "Saving",
    "SeedOrigin",
    "Service",
    "ServiceStore",
    "Snapshot",
    "ToolOf",
    "WorkspaceAccess",
    "WorkspaceStore",
    "Workspaces",
    "needs_of",
    "summarize",
    "sweep_exports",
    "system_tree",
]
