"""The tools about workspaces as wholes, and commands in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pyro_mcp.mcp_server import commands, text
from pyro_mcp.mcp_server.permitted import without_managed_adopted, without_managed_list
from pyro_mcp.mcp_server.tool import ACCELERATOR, COMMAND, FLAG, ID, LABELS, SECONDS, TEXT, Call, Schema, Tool, shape
from pyro_mcp.results import (
    WorkspaceAdopted,
    WorkspaceDeleted,
    WorkspaceExecResult,
    WorkspaceFork,
    WorkspaceInfo,
    WorkspaceList,
    WorkspaceLogs,
    WorkspaceReset,
    WorkspaceSummarized,
)

SECRET_ENV: Schema = {"type": "object", "additionalProperties": TEXT, "description": "secret name → variable"}
_INFO = ("workspace_id", "state", "expires_at")
_ONLY_FULL = frozenset(
    ("network_policy", "allow_hosts", "trust_host_ca", "host_mirrors", "secrets", "allow_host_compat", "accelerator")
)
_PARTS = "send it to a file and look at parts of that: cmd > /tmp/out 2>&1; sed -n 1,200p /tmp/out"


def _create(call: Call) -> Mapping[str, Any]:
    options = call.given(
        "seed_path",
        "no_ignored",
        "seed_owner",
        "name",
        "labels",
        "vcpu_count",
        "mem_mib",
        "ttl_seconds",
        "trust_host_ca",
        "host_mirrors",
        "secrets",
        "allow_host_compat",
    )
    environment = call.arguments.get("environment", "debian:12")
    options |= call.chosen_accelerator()
    options |= call.reach.of_workspace(call.given("network_policy", "allow_hosts"))
    if "seed_path" in options:
        return call.pyro.create_workspace(environment, **options)
    with call.source.seed() as seed:
        return call.pyro.create_workspace(environment, **options, **seed)


def _exec(call: Call) -> Mapping[str, Any]:
    options = call.given("command", "cwd", "timeout_seconds", "secret_env")
    return commands.run(call, partial(call.pyro.exec_workspace, call.arguments["workspace_id"], **options))


TOOLS = (
    Tool(
        "workspace_create",
        "Make and start a workspace: a VM of its own whose /workspace is a copy of the project (or of seed_path, a "
        "host folder or .tar[.gz]). Do this first. The workspace_id is opaque; it stays valid across server "
        "restarts until workspace_delete; after ttl_seconds (default a day) the workspace is stopped.",
        {
            "environment": {"type": "string", "default": "debian:12"},
            "seed_path": TEXT,
            "no_ignored": FLAG,
            "seed_owner": {"type": "integer"},
            "name": TEXT,
            "labels": LABELS,
            "vcpu_count": {"type": "integer"},
            "mem_mib": {"type": "integer"},
            "ttl_seconds": SECONDS,
            "network_policy": {"enum": ["off", "egress", "egress+published-ports"]},
            "allow_hosts": {
                "type": "array",
                "items": {"anyOf": [TEXT, {"type": "object"}]},
                "description": 'all it may reach: NAME[:PORT], *.SUFFIX, {"host"[, "methods"][, "paths": ["/v1/*"]]}',
            },
            "trust_host_ca": {"type": "boolean", "description": "trust the CAs that the host trusts"},
            "host_mirrors": {"type": "boolean", "description": "pip, uv, npm: use the host's mirrors"},
            "allow_host_compat": {"type": "boolean", "description": "where no VM can run: a sandbox on the host"},
            "accelerator": ACCELERATOR,
            "secrets": {
                "type": "array",
                "items": {"type": "object"},
                "description": '{"name", "value" | "file_path"[, "host" | "hosts": the only ones that get it[, '
                '"header" | "basic": user name | "query": parameter]]}',
            },
        },
        (),
        shape(WorkspaceInfo, *_INFO, "workspace_seed"),
        _create,
        text.workspace,
        undo=lambda call, made: call.pyro.delete_workspace(made["workspace_id"]),
        only_full=frozenset(
            {
                "seed_owner",
                "network_policy",
                "allow_hosts",
                "trust_host_ca",
                "host_mirrors",
                "secrets",
                "allow_host_compat",
                "accelerator",
            }
        ),
        then={
            "workspace_file_list": "look around",
            "workspace_exec": "run a command",
            "workspace_patch_apply": "edit",
            "service_start": "start a server",
            "shell_open": "work interactively",
        },
    ),
    Tool(
        "workspace_list",
        "List all workspaces, most recently active first: to find one again. Starts nothing.",
        {},
        (),
        shape(WorkspaceList, "count", "workspaces"),
        lambda call: without_managed_list(call.pyro.list_workspaces()),
        text.workspaces,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "workspace_status",
        "Show a workspace: state, seed, expiry.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceInfo, *_INFO),
        lambda call: call.pyro.status_workspace(call.arguments["workspace_id"]),
        text.workspace,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "workspace_update",
        "Change a workspace's name, labels and lifetime. labels are added; clear_labels names those to remove; with "
        "ttl_seconds it lives that long from now on.",
        {
            "workspace_id": ID,
            "name": TEXT,
            "clear_name": FLAG,
            "labels": LABELS,
            "clear_labels": {"type": "array", "items": TEXT},
            "ttl_seconds": SECONDS,
        },
        ("workspace_id",),
        shape(WorkspaceInfo, "workspace_id", "name", "labels"),
        lambda call: call.pyro.update_workspace(
            call.arguments["workspace_id"], **call.given("name", "clear_name", "labels", "clear_labels", "ttl_seconds")
        ),
        text.workspace,
        idempotent=True,
    ),
    Tool(
        "workspace_exec",
        "Run a command (a line for sh, or an argv list) as root in /workspace and wait for it. A non-zero exit code is "
        "a result, not an error. Killed after timeout_seconds (default 30, or 120 where emulated). What it changes "
        "stays until workspace_reset. To read or edit files prefer the file tools.",
        {
            "workspace_id": ID,
            "command": COMMAND,
            "cwd": TEXT,
            "timeout_seconds": SECONDS,
            "secret_env": SECRET_ENV,
        },
        ("workspace_id", "command"),
        shape(WorkspaceExecResult, "exit_code", "timed_out", "stdout", "stderr", "truncated"),
        _exec,
        text.executed,
        destructive=True,
        only_full=frozenset({"secret_env"}),
        rest=_PARTS,
    ),
    Tool(
        "workspace_logs",
        "The commands run since creation or reset, with exit codes and the beginning of their output.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceLogs, "count", "entries"),
        lambda call: call.pyro.logs_workspace(call.arguments["workspace_id"]),
        text.logs,
        read_only=True,
        idempotent=True,
        rest=f"run the command again and {_PARTS}",
    ),
    Tool(
        "workspace_summary",
        "Review the session so far: commands, edits, changes, exports, snapshots.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceSummarized, "workspace_id", "outcome", "changes"),
        lambda call: call.pyro.summarize_workspace(call.arguments["workspace_id"]),
        text.summary,
        read_only=True,
        idempotent=True,
        then={"workspace_diff": "the changes as a patch", "workspace_export": "copy results to the host"},
    ),
    Tool(
        "workspace_reset",
        "Start over, in under a second: the whole VM as new, /workspace as created or as in a snapshot. The normal way "
        "to retry. Loses changes, packages, command history; export first what shall stay.",
        {"workspace_id": ID, "snapshot": {"type": "string", "default": "baseline"}},
        ("workspace_id",),
        shape(WorkspaceReset, "workspace_id", "state", "snapshot_name"),
        lambda call: call.pyro.reset_workspace(call.arguments["workspace_id"], **call.given("snapshot")),
        text.reset,
        destructive=True,
        idempotent=True,
    ),
    Tool(
        "workspace_adopt",
        "Take back workspaces that are on the disk and not in the database, as workspace_list shows them; without "
        "workspace_id all of them.",
        {"workspace_id": ID},
        (),
        shape(WorkspaceAdopted, "count", "workspaces"),
        lambda call: without_managed_adopted(call.pyro.adopt_workspace(call.arguments.get("workspace_id"))),
        text.adopted,
        idempotent=True,
    ),
    Tool(
        "workspace_delete",
        "Delete a workspace and all its data. Do this when done.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceDeleted, "workspace_id", "deleted"),
        lambda call: call.pyro.delete_workspace(call.arguments["workspace_id"]),
        lambda result: f"{result['workspace_id']} is deleted.",
        destructive=True,
    ),
    Tool(
        "workspace_fork",
        "Make a second workspace with the current /workspace and installed packages of one, independent from then on, "
        "to try several ways. Costs a moment.",
        {"workspace_id": ID, "name": TEXT, "labels": LABELS, "ttl_seconds": SECONDS},
        ("workspace_id",),
        shape(WorkspaceFork, *_INFO, "forked_from"),
        lambda call: call.pyro.fork_workspace(
            call.arguments["workspace_id"], **call.given("name", "labels", "ttl_seconds")
        ),
        text.workspace,
        undo=lambda call, made: call.pyro.delete_workspace(made["workspace_id"]),
    ),
    Tool(
        "workspace_stop",
        "Power a workspace off; files, packages, snapshots and history stay.",
        {
            "workspace_id": ID,
            "force": {"type": "boolean", "description": "End it although its guest does not answer"},
        },
        ("workspace_id",),
        shape(WorkspaceInfo, *_INFO),
        lambda call: call.pyro.stop_workspace(call.arguments["workspace_id"], force=call.arguments.get("force", False)),
        text.workspace,
        idempotent=True,
        then={"workspace_start": "go on", "workspace_disk_list": "inspect the disk"},
    ),
    Tool(
        "workspace_start",
        "Start a stopped workspace as it was.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceInfo, *_INFO),
        lambda call: call.pyro.start_workspace(call.arguments["workspace_id"]),
        text.workspace,
        idempotent=True,
    ),
)
