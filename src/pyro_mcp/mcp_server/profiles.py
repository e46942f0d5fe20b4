"""Which tools a server offers: profiles by how much, modes by what for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.mcp_server import (
    tools_environments,
    tools_files,
    tools_network,
    tools_services,
    tools_shells,
    tools_snapshots,
    tools_vm,
    tools_workspace,
)
from pyro_mcp.mcp_server.tool import Tool

ALL = (
    *tools_vm.TOOLS,
    *tools_environments.TOOLS,
    *tools_workspace.TOOLS,
    *tools_files.TOOLS,
    *tools_network.TOOLS,
    *tools_snapshots.TOOLS,
    *tools_services.TOOLS,
    *tools_shells.TOOLS,
)
BY_NAME = {tool.name: tool for tool in ALL}
DEFAULT_PROFILE = "workspace-core"
FULL_PROFILE = "workspace-full"


@dataclass(frozen=True)
class Offer:
    """What a server offers, and for what it is meant."""

    purpose: str
    names: tuple[str, ...]


_LIFE = ("workspace_create", "workspace_list", "workspace_status")
_END = ("workspace_reset", "workspace_delete")
_READ = ("workspace_file_list", "workspace_file_read")
_EDIT = ("workspace_file_write", "workspace_patch_apply", "workspace_diff")

PROFILES: Mapping[str, Offer] = {
    "vm-run": Offer("one command at a time, nothing is kept", ("vm_run",)),
    DEFAULT_PROFILE: Offer(
        "the usual way to work on a project",
        (
            "vm_run", "workspace_create", "workspace_list", "workspace_update", "workspace_status",
            "workspace_sync_push", "workspace_exec", "workspace_logs", "workspace_summary", "workspace_file_list",
            "workspace_file_read", "workspace_file_write", "workspace_patch_apply", "workspace_diff",
            "workspace_export", "workspace_reset", "workspace_delete",
        ),
    ),
    FULL_PROFILE: Offer("everything: services, shells, snapshots, disks, network, secrets", tuple(BY_NAME)),
}  # fmt: skip

MODES: Mapping[str, Offer] = {
    "repro-fix": Offer(
        "reproduce, patch, run again, diff, export, reset",
        (*_LIFE, "workspace_update", "workspace_exec", "workspace_logs", "workspace_summary", *_READ, *_EDIT,
         "workspace_export", *_END),
    ),
    "inspect": Offer(
        "look at suspicious or unknown code",
        (*_LIFE, *_READ, "workspace_exec", "workspace_export", "workspace_summary", "workspace_delete"),
    ),
    "cold-start": Offer(
        "validate a fresh project; keep its services alive until they are ready",
        (*_LIFE, *_READ, "workspace_exec", "service_start", "service_list", "service_status", "service_logs",
         "service_stop", "workspace_export", "workspace_summary", *_END),
    ),
    "review-eval": Offer(
        "review step by step, with checkpoints and an interactive shell",
        ("workspace_create", "workspace_list", *_READ, "workspace_exec", "workspace_diff", "shell_open", "shell_read",
         "shell_write", "shell_signal", "shell_close", "snapshot_create", "snapshot_list", "snapshot_delete",
         "workspace_export", "workspace_summary", *_END),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The tools of one server, in their order; `full` when no parameter is left out."""

    title: str
    purpose: str
    tools: tuple[Tool, ...]
    full: bool


def select(profile: str | None = None, mode: str | None = None) -> Selection:
    """Return the tools of a profile or a mode, `workspace-core` without either.

    Raises `InvalidRequest` for a name that there is not.
    """
    kind, table, name = "profile", PROFILES, DEFAULT_PROFILE if profile is None else profile
    if mode is not None:
        kind, table, name = "mode", MODES, mode
    if name not in table:
        raise InvalidRequest(f"there is no {kind} {name!r}", hint=f"{kind}s: {', '.join(table)}")
    offer = table[name]
    return Selection(name, offer.purpose, tuple(BY_NAME[one] for one in offer.names), name == FULL_PROFILE)
