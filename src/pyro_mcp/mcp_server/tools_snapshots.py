"""The tools about snapshots, and about the disks of stopped workspaces."""

from __future__ import annotations

from pyro_mcp.mcp_server import text
from pyro_mcp.mcp_server.tool import FLAG, ID, TEXT, Tool, shape
from pyro_mcp.mcp_server.tools_files import MAX_BYTES, readable_part
from pyro_mcp.results import (
    SnapshotDeleted,
    SnapshotList,
    SnapshotResult,
    WorkspaceDiskExport,
    WorkspaceFileList,
    WorkspaceFileRead,
)

TOOLS = (
    Tool(
        "snapshot_create",
        "Save /workspace as a named snapshot to reset to; with_system also saves installed packages.",
        {"workspace_id": ID, "snapshot_name": TEXT, "with_system": FLAG},
        ("workspace_id", "snapshot_name"),
        shape(SnapshotResult, "workspace_id", "snapshot"),
        lambda call: call.pyro.create_snapshot(
            call.arguments["workspace_id"], call.arguments["snapshot_name"], **call.given("with_system")
        ),
        lambda result: f"Snapshot {result['snapshot']['snapshot_name']!r} of {result['workspace_id']} is made.",
        then={"workspace_reset": "come back to it, with snapshot"},
    ),
    Tool(
        "snapshot_list",
        "List the snapshots that workspace_reset can restore; baseline is the state at creation.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(SnapshotList, "count", "snapshots"),
        lambda call: call.pyro.list_snapshots(call.arguments["workspace_id"]),
        text.snapshots,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "snapshot_delete",
        "Delete a snapshot.",
        {"workspace_id": ID, "snapshot_name": TEXT},
        ("workspace_id", "snapshot_name"),
        shape(SnapshotDeleted, "workspace_id", "deleted"),
        lambda call: call.pyro.delete_snapshot(call.arguments["workspace_id"], call.arguments["snapshot_name"]),
        lambda result: f"Snapshot {result['snapshot_name']!r} is deleted.",
        destructive=True,
    ),
    Tool(
        "workspace_disk_list",
        "List a folder on the disk of a stopped workspace (workspace_stop first); nothing on it is started.",
        {"workspace_id": ID, "path": TEXT, "recursive": FLAG},
        ("workspace_id",),
        shape(WorkspaceFileList, "path", "count", "entries"),
        lambda call: call.pyro.list_workspace_disk(call.arguments["workspace_id"], **call.given("path", "recursive")),
        text.file_list,
        read_only=True,
        idempotent=True,
        rest="list one folder of it",
    ),
    Tool(
        "workspace_disk_read",
        "Read a file on the disk of a stopped workspace; any path, not only /workspace.",
        {"workspace_id": ID, "path": TEXT, "offset": {"type": "integer"}, "max_bytes": MAX_BYTES},
        ("workspace_id", "path"),
        shape(WorkspaceFileRead, "content", "size_bytes", "truncated", "next_offset"),
        lambda call: readable_part(call, call.pyro.read_workspace_disk),
        text.file_read,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "workspace_disk_export",
        "Write the whole disk of a stopped workspace to output_path on the host, as a raw ext4 image.",
        {"workspace_id": ID, "output_path": TEXT},
        ("workspace_id", "output_path"),
        shape(WorkspaceDiskExport, "output_path", "size_bytes"),
        lambda call: call.pyro.export_workspace_disk(
            call.arguments["workspace_id"], output_path=call.arguments["output_path"]
        ),
        lambda result: f"{result['output_path']} holds the disk ({result['size_bytes']} bytes, sparse).",
        destructive=True,
        open_world=True,
    ),
)
