"""The loop of a workspace, told by the SDK, the command line and the MCP server: the same words, shapes and results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from pyro_mcp import Pyro, results
from tests.mcp_server.conftest import conversation
from tests.surfaces.conftest import Cli

_FULL = ["--profile", "workspace-full", "--no-project-source"]

SERVE = "echo one; echo two; touch up; exec sleep 1000"
PATCH = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"
Step = tuple[list[str], Callable[[Pyro, str], Any], tuple[str, dict[str, Any]], Any]

# Words of the command line after `pyro workspace`, with ID for the workspace; the same call; the same tool and its
# arguments but for the workspace; the shape of the result.
STORY: dict[str, Step] = {
    "exec": (
        ["exec", "ID", "--", "cat", "message.txt"],
        lambda pyro, id_: pyro.exec_workspace(id_, command=["cat", "message.txt"]),
        ("workspace_exec", {"command": ["cat", "message.txt"]}),
        results.WorkspaceExecResult,
    ),
    "write": (
        ["file", "write", "ID", "deep/new.txt", "--text", "new\n"],
        lambda pyro, id_: pyro.write_workspace_file(id_, "deep/new.txt", text="new\n"),
        ("workspace_file_write", {"path": "deep/new.txt", "text": "new\n"}),
        results.WorkspaceFileWrite,
    ),
    "read": (
        ["file", "read", "ID", "deep/new.txt", "--offset", "1", "--max-bytes", "3"],
        lambda pyro, id_: pyro.read_workspace_file(id_, "deep/new.txt", offset=1, max_bytes=3),
        ("workspace_file_read", {"path": "deep/new.txt", "offset": 1, "max_bytes": 3}),
        results.WorkspaceFileRead,
    ),
    "files": (
        ["file", "list", "ID", "--recursive"],
        lambda pyro, id_: pyro.list_workspace_files(id_, recursive=True),
        ("workspace_file_list", {"recursive": True}),
        results.WorkspaceFileList,
    ),
    "snapshot": (
        ["snapshot", "create", "ID", "before"],
        lambda pyro, id_: pyro.create_snapshot(id_, "before"),
        ("snapshot_create", {"snapshot_name": "before"}),
        results.SnapshotResult,
    ),
    "patch": (
        ["patch", "apply", "ID", "--patch", PATCH],
        lambda pyro, id_: pyro.apply_workspace_patch(id_, patch=PATCH),
        ("workspace_patch_apply", {"patch": PATCH}),
        results.WorkspacePatch,
    ),
    "diff": (["diff", "ID"], lambda pyro, id_: pyro.diff_workspace(id_), ("workspace_diff", {}), results.WorkspaceDiff),
    "logs": (["logs", "ID"], lambda pyro, id_: pyro.logs_workspace(id_), ("workspace_logs", {}), results.WorkspaceLogs),
    "summary": (
        ["summary", "ID"],
        lambda pyro, id_: pyro.summarize_workspace(id_),
        ("workspace_summary", {}),
        results.WorkspaceSummarized,
    ),
    "serve": (
        ["service", "start", "ID", "app", "--command", SERVE, "--ready-file", "up"],
        lambda pyro, id_: pyro.start_service(id_, "app", command=SERVE, readiness={"type": "file", "path": "up"}),
        ("service_start", {"service_name": "app", "command": SERVE, "readiness": {"type": "file", "path": "up"}}),
        results.ServiceInfo,
    ),
    "services": (
        ["service", "list", "ID"],
        lambda pyro, id_: pyro.list_services(id_),
        ("service_list", {}),
        results.ServiceList,
    ),
    "serving": (
        ["service", "status", "ID", "app"],
        lambda pyro, id_: pyro.status_service(id_, "app"),
        ("service_status", {"service_name": "app"}),
        results.ServiceInfo,
    ),
    "served": (
        ["service", "logs", "ID", "app", "--tail-lines", "1"],
        lambda pyro, id_: pyro.logs_service(id_, "app", tail_lines=1),
        ("service_logs", {"service_name": "app", "tail_lines": 1}),
        results.ServiceLogs,
    ),
    "unserve": (
        ["service", "stop", "ID", "app"],
        lambda pyro, id_: pyro.stop_service(id_, "app"),
        ("service_stop", {"service_name": "app"}),
        results.ServiceInfo,
    ),
    "shell": (
        ["shell", "open", "ID", "--cols", "90"],
        lambda pyro, id_: pyro.open_shell(id_, cols=90),
        ("shell_open", {"cols": 90}),
        results.ShellOpened,
    ),
    "shells": (
        ["shell", "list", "ID"],
        lambda pyro, id_: pyro.list_shells(id_),
        ("shell_list", {}),
        results.ShellList,
    ),
    "network": (
        ["network", "info", "ID"],
        lambda pyro, id_: pyro.network_info_workspace(id_),
        ("workspace_network_info", {}),
        results.WorkspaceNetworkInfo,
    ),
    "network log": (
        ["network", "log", "ID", "--limit", "5"],
        lambda pyro, id_: pyro.network_log_workspace(id_, limit=5),
        ("workspace_network_log", {"limit": 5}),
        results.WorkspaceNetworkLog,
    ),
    "reset": (
        ["reset", "ID", "--snapshot", "before"],
        lambda pyro, id_: pyro.reset_workspace(id_, snapshot="before"),
        ("workspace_reset", {"snapshot": "before"}),
        results.WorkspaceReset,
    ),
    "snapshots": (
        ["snapshot", "list", "ID"],
        lambda pyro, id_: pyro.list_snapshots(id_),
        ("snapshot_list", {}),
        results.SnapshotList,
    ),
    "update": (
        ["update", "ID", "--name", "story", "--label", "k=v"],
        lambda pyro, id_: pyro.update_workspace(id_, name="story", labels={"k": "v"}),
        ("workspace_update", {"name": "story", "labels": {"k": "v"}}),
        results.WorkspaceInfo,
    ),
    "stop": (["stop", "ID"], lambda pyro, id_: pyro.stop_workspace(id_), ("workspace_stop", {}), results.WorkspaceInfo),
    "disk": (
        ["disk", "read", "ID", "message.txt", "--max-bytes", "100"],
        lambda pyro, id_: pyro.read_workspace_disk(id_, "message.txt", max_bytes=100),
        ("workspace_disk_read", {"path": "message.txt", "max_bytes": 100}),
        results.WorkspaceFileRead,
    ),
    "start": (
        ["start", "ID"],
        lambda pyro, id_: pyro.start_workspace(id_),
        ("workspace_start", {}),
        results.WorkspaceInfo,
    ),
    "status": (
        ["status", "ID"],
        lambda pyro, id_: pyro.status_workspace(id_),
        ("workspace_status", {}),
        results.WorkspaceInfo,
    ),
    "delete": (
        ["delete", "ID"],
        lambda pyro, id_: pyro.delete_workspace(id_),
        ("workspace_delete", {}),
        results.WorkspaceDeleted,
    ),
}


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    folder = tmp_path / "seed"
    folder.mkdir()
    (folder / "message.txt").write_text("broken\n")
    return folder


def test_all_three_surfaces_live_the_same_life(warm_cli: Cli, pyro: Pyro, seed: Path) -> None:
    made = warm_cli("workspace", "create", "debian:12", "--seed-path", str(seed), "--id-only")
    assert made.returncode == 0, made.stderr
    ours, theirs = pyro.create_workspace("debian:12", seed_path=seed)["workspace_id"], made.stdout.strip()
    served = conversation(partial(live, seed), [sys.executable, "-m", "pyro_mcp.cli", "mcp", "serve", *_FULL])
    for name, (words, call, _, shape) in STORY.items():
        options = [theirs if word == "ID" else word for word in words]
        at = options.index("--") if "--" in options else len(options)
        told = warm_cli("workspace", *options[:at], "--json", *options[at:])
        assert told.returncode == 0, (name, told.stderr)
        printed, returned = json.loads(told.stdout), json.loads(json.dumps(call(pyro, ours)))
        assert set(printed) == set(shape.__required_keys__), name
        assert without_chance(printed) == without_chance(returned), name
        assert without_chance(served[name]) == without_nulls(without_chance(returned)), name


async def live(seed: Path, client: Client) -> dict[str, Any]:
    """The same life, told to a chat host: what each tool returned."""
    made = (await client.call_tool("workspace_create", {"seed_path": str(seed)})).structured_content
    returned = {}
    for name, (_, _, (tool, arguments), _) in STORY.items():
        result = await client.call_tool(tool, {"workspace_id": made["workspace_id"], **arguments})
        assert not result.is_error, (name, result.content)
        returned[name] = result.structured_content
    return returned


def without_chance(value: Any) -> Any:
    """A result without what two workspaces cannot have in common: ids, moments, durations."""
    if isinstance(value, dict):
        kept = {
            key: one for key, one in value.items() if not (key.endswith(("_at", "_ms", "_id")) or key in ("at", "pid"))
        }
        return {key: without_chance(one) for key, one in kept.items()}
    return [without_chance(one) for one in value] if isinstance(value, list) else value


def without_nulls(value: Any) -> Any:
    """A result as a chat host gets it: what is null is left out."""
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def test_what_a_person_sees_fits_and_teaches(warm_cli: Cli, seed: Path) -> None:
    id_ = warm_cli("workspace", "create", "debian:12", "--seed-path", str(seed), "--id-only").stdout.strip()
    assert warm_cli("workspace", "exec", id_, "--", "sh", "-c", "echo out; exit 3").returncode == 3
    assert warm_cli("workspace", "patch", "apply", id_, "--patch-file", "-", stdin=PATCH).stdout.split() == [
        "modified", "message.txt"
    ]  # fmt: skip
    assert warm_cli("workspace", "diff", id_, "--stat").stdout.splitlines()[0].split() == ["modified", "message.txt"]
    assert "+fixed" in warm_cli("workspace", "diff", id_).stdout
    assert id_ in warm_cli("workspace", "list").stdout
    gone = warm_cli("workspace", "status", "ws-unknown")
    assert gone.returncode == 3 and "workspace list" in gone.stderr and gone.stdout == ""
    assert warm_cli("workspace", "delete", id_).stdout == f"{id_} is deleted\n"
