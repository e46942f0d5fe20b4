"""The tools about files: list, read, write, patch, diff, export, push."""

from __future__ import annotations

from collections.abc import Callable

from pyro_mcp.mcp_server import text
from pyro_mcp.mcp_server.bounds import LONGEST_FIELD, LONGEST_PART, beginning
from pyro_mcp.mcp_server.plain import sanitize_content
from pyro_mcp.mcp_server.tool import FLAG, ID, TEXT, Call, Schema, Tool, shape
from pyro_mcp.results import (
    WorkspaceDiff,
    WorkspaceExport,
    WorkspaceFileList,
    WorkspaceFileRead,
    WorkspaceFileWrite,
    WorkspacePatch,
    WorkspaceSyncPush,
)

MAX_BYTES: Schema = {"type": "integer", "maximum": 65536}
_LEAST_BYTES = 512


def readable_part(call: Call, read: Callable[..., WorkspaceFileRead]) -> WorkspaceFileRead:
    """Read as much of a file as a model gets whole, so that `next_offset` is where what it has seen ends."""
    options = call.given("offset", "max_bytes")
    most = min(options.get("max_bytes", LONGEST_PART), LONGEST_PART)
    while True:
        found = read(call.arguments["workspace_id"], call.arguments["path"], **(options | {"max_bytes": most}))
        _, rest = beginning(sanitize_content(found["content"]))
        if not rest or most <= _LEAST_BYTES:
            return found
        most //= 2


def _diff(call: Call) -> WorkspaceDiff:
    """Return the diff with as many whole files of its patch as fit; the others are named."""
    found = call.pyro.diff_workspace(call.arguments["workspace_id"], **call.given("include_ignored", "binary"))
    if len(found["patch"]) <= LONGEST_FIELD:
        return found
    shown: list[str] = []
    left_out = dict.fromkeys(found["left_out"])
    room = LONGEST_FIELD
    for entry in found["entries"]:
        piece = entry["text_patch"]
        if piece is not None and len(piece) <= room:
            shown.append(piece)
            room -= len(piece)
        else:
            left_out[entry["path"]] = None
    return {**found, "patch": "".join(shown), "patch_complete": False, "left_out": list(left_out)}


TOOLS = (
    Tool(
        "workspace_file_list",
        "List a folder of /workspace: types, sizes, link targets.",
        {"workspace_id": ID, "path": TEXT, "recursive": FLAG},
        ("workspace_id",),
        shape(WorkspaceFileList, "path", "count", "entries"),
        lambda call: call.pyro.list_workspace_files(call.arguments["workspace_id"], **call.given("path", "recursive")),
        text.file_list,
        read_only=True,
        idempotent=True,
        rest="list one folder of it",
    ),
    Tool(
        "workspace_file_read",
        "Read a text file of /workspace, some 9,000 bytes at once; read on at offset, a number of bytes.",
        {"workspace_id": ID, "path": TEXT, "offset": {"type": "integer"}, "max_bytes": MAX_BYTES},
        ("workspace_id", "path"),
        shape(WorkspaceFileRead, "content", "size_bytes", "truncated", "next_offset"),
        lambda call: readable_part(call, call.pyro.read_workspace_file),
        text.file_read,
        read_only=True,
        idempotent=True,
        rest="read on with offset",
    ),
    Tool(
        "workspace_file_write",
        "Create or replace a whole text file of /workspace; folders are made. For a small edit use "
        "workspace_patch_apply.",
        {"workspace_id": ID, "path": TEXT, "text": TEXT},
        ("workspace_id", "path", "text"),
        shape(WorkspaceFileWrite, "path", "bytes_written", "replaced"),
        lambda call: call.pyro.write_workspace_file(
            call.arguments["workspace_id"], call.arguments["path"], text=call.arguments["text"]
        ),
        text.written,
        destructive=True,
        idempotent=True,
    ),
    Tool(
        "workspace_patch_apply",
        "Edit files of /workspace with a unified diff (--- a/FILE, +++ b/FILE, @@; /dev/null for new or deleted "
        "files). All of it is applied or nothing.",
        {"workspace_id": ID, "patch": TEXT},
        ("workspace_id", "patch"),
        shape(WorkspacePatch, "changed", "entries"),
        lambda call: call.pyro.apply_workspace_patch(call.arguments["workspace_id"], patch=call.arguments["patch"]),
        text.patched,
        destructive=True,
        then={"workspace_exec": "run the tests", "workspace_diff": "see all changes"},
    ),
    Tool(
        "workspace_diff",
        "What differs from how the workspace was created, as a patch that git apply takes. Ignored files are only "
        "counted unless include_ignored.",
        {"workspace_id": ID, "include_ignored": FLAG, "binary": FLAG},
        ("workspace_id",),
        shape(WorkspaceDiff, "changed", "summary", "entries", "patch", "patch_complete"),
        _diff,
        text.diff,
        read_only=True,
        idempotent=True,
        rest="read single files with workspace_file_read",
    ),
    Tool(
        "workspace_export",
        "Copy a file or folder of /workspace to output_path on the host: the only way results leave. Ask the user "
        "before writing where they did not say. Git hooks and settings stay behind.",
        {
            "workspace_id": ID,
            "path": TEXT,
            "output_path": TEXT,
            "overwrite": FLAG,
            "max_bytes": {"type": "integer"},
            "max_entries": {"type": "integer"},
        },
        ("workspace_id", "path", "output_path"),
        shape(WorkspaceExport, "output_path", "artifact_type", "bytes_written"),
        lambda call: call.pyro.export_workspace(
            call.arguments["workspace_id"],
            call.arguments["path"],
            output_path=call.arguments["output_path"],
            **call.given("overwrite", "max_bytes", "max_entries"),
        ),
        text.exported,
        destructive=True,
        idempotent=True,
        open_world=True,
        only_full=frozenset({"max_bytes", "max_entries"}),
    ),
    Tool(
        "workspace_sync_push",
        "Copy a host file, folder or archive into the running workspace, to dest: for host files that changed after "
        "creation. Overwrites, never deletes.",
        {"workspace_id": ID, "source_path": TEXT, "dest": TEXT},
        ("workspace_id", "source_path"),
        shape(WorkspaceSyncPush, "entry_count", "overwritten"),
        lambda call: call.pyro.push_workspace_sync(
            call.arguments["workspace_id"], call.arguments["source_path"], **call.given("dest")
        ),
        text.pushed,
        destructive=True,
        idempotent=True,
        open_world=True,
    ),
)
