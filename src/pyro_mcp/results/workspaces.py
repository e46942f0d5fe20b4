"""Workspaces as wholes."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from pyro_mcp.results.networks import AllowEntry
from pyro_mcp.results.vms import CommandEnd

MANAGED_BY = "managed-by"
"""The label of a workspace that a program keeps for itself; its value names the program.

The tools of an MCP server neither list nor open such a workspace.
"""


class WorkspaceSeed(TypedDict):
    """What /workspace held at first, and where that came from."""

    mode: Literal["empty", "directory", "archive"]
    seed_path: str | None
    destination: str
    entry_count: int
    size_bytes: int
    skipped: list[str]
    """What was left out: sockets, pipes and devices."""
    ignored_count: int
    """Ignored files that were copied and that git does not track."""
    ignored_bytes: int
    likely_secrets: list[str]
    """The first 20 files that came along and by their names may hold passwords, tokens or keys."""
    remarks: list[str]
    """What did not come along because it lies elsewhere: a worktree's git data, submodules."""
    origin_kind: Literal["empty", "manual_seed_path", "project_path", "repo_url", "fork"]
    origin_ref: str | None


class WorkspaceSecret(TypedDict):
    """What may be told of a secret."""

    name: str
    source_kind: Literal["literal", "file"]
    host: NotRequired[str]
    """The only host that gets it; the guest sees a placeholder."""
    header: NotRequired[str]
    """The field of a request's header in which that host gets it."""
    hosts: NotRequired[list[str]]
    """All hosts that get it, if there are several; `host` is the first."""
    basic: NotRequired[str]
    """The user name of Basic with which these hosts get it as the password, instead of a field of their own."""
    query: NotRequired[str]
    """The parameter of the query in which these hosts get it, instead of a field."""


class WorkspaceInfo(TypedDict):
    """One workspace."""

    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    environment_version: str
    state: Literal["created", "starting", "running", "executing", "stopping", "stopped", "deleting", "failed"]
    execution_mode: str | None
    accelerator: str | None
    vcpu_count: int
    mem_mib: int
    allow_host_compat: bool
    network_policy: str
    """`off`, `egress` or `egress+published-ports`."""
    allow_hosts: list[str | AllowEntry]
    """All that it may reach; empty for every public host, where the policy allows any."""
    workspace_path: str
    workspace_seed: WorkspaceSeed
    secrets: list[WorkspaceSecret]
    command_count: int
    service_count: int
    running_service_count: int
    reset_count: int
    last_reset_at: float | None
    created_at: float
    last_activity_at: float
    expires_at: float
    failure: str | None
    """Why its state is `failed`."""


class WorkspaceSummary(TypedDict):
    """One row of the list."""

    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    state: str
    created_at: float
    last_activity_at: float
    expires_at: float
    command_count: int
    service_count: int
    running_service_count: int


class UnknownWorkspace(TypedDict):
    """A workspace that is on the disk, or runs, and that the database does not know."""

    workspace_id: str
    name: str | None
    running: bool
    problem: str
    """Why it cannot be adopted; empty when it can."""


class WorkspaceList(TypedDict):
    """Every workspace, the most recently active first."""

    count: int
    workspaces: list[WorkspaceSummary]
    unknown: NotRequired[list[UnknownWorkspace]]
    """Only when there are any: `adopt` takes them back. The database was lost, or an older copy was restored."""


class WorkspaceAdopted(TypedDict):
    """The workspaces that the database knows again, and those that it still does not know."""

    count: int
    workspaces: list[WorkspaceInfo]
    unknown: NotRequired[list[UnknownWorkspace]]


class WorkspaceDeleted(TypedDict):
    """A workspace that is no more."""

    workspace_id: str
    deleted: bool


class WorkspaceExecResult(CommandEnd):
    """How a command ended, and where it ran."""

    workspace_id: str
    sequence: int
    """Its place in the history since creation or the last reset, from 1."""
    command: str | list[str]
    cwd: str
    execution_mode: str
    accelerator: str


class WorkspaceLogEntry(TypedDict):
    """One command of the history."""

    sequence: int
    command: str | list[str]
    started_at: float
    status: Literal["running", "ended", "unknown"]
    """unknown: whoever ran it died before it ended."""
    exit_code: int | None
    timed_out: bool
    duration_ms: float | None
    stdout: str
    stderr: str
    """Each the first 64 KiB."""


class WorkspaceLogs(TypedDict):
    """The commands since creation or the last reset, oldest first."""

    workspace_id: str
    count: int
    entries: list[WorkspaceLogEntry]


class SnapshotInfo(TypedDict):
    """One point to reset to."""

    snapshot_name: str
    kind: Literal["baseline", "named"]
    created_at: float
    deletable: bool
    with_system: bool
    """Whether a reset to it restores what was installed, too."""


class SnapshotResult(TypedDict):
    """A snapshot that was made."""

    workspace_id: str
    snapshot: SnapshotInfo


class SnapshotList(TypedDict):
    """The baseline, then the named snapshots, oldest first."""

    workspace_id: str
    count: int
    snapshots: list[SnapshotInfo]


class SnapshotDeleted(TypedDict):
    """A snapshot that is no more."""

    workspace_id: str
    snapshot_name: str
    deleted: bool


class WorkspaceReset(WorkspaceInfo):
    """The workspace after a reset."""

    snapshot_name: str
    with_system: bool
    """Whether what had been installed by then is there again."""
    duration_ms: float


class WorkspaceFork(WorkspaceInfo):
    """A workspace that began as another was at that moment."""

    forked_from: str
    duration_ms: float


class WorkspaceSummarized(TypedDict):
    """One concise review of a workspace's session."""

    workspace_id: str
    name: str | None
    labels: dict[str, str]
    environment: str
    state: str
    likely_secrets: list[str]
    """Files that came along with the seed and by their names may hold passwords, tokens or keys."""
    reset_count: int
    last_reset_at: float | None
    outcome: dict[str, Any]
    """Counts: commands, failed_commands, edits, patches, exports, changed_files, snapshots, services."""
    commands: dict[str, Any]
    """`total`, `failed`, and `recent`: the last commands with their exit codes, newest first."""
    edits: list[dict[str, Any]]
    """Recent file writes and sync pushes, newest first; `patches` are among them."""
    changes: dict[str, Any]
    """The summary of the diff, its first entries, and `self_running` ones.

    `available` is false while the workspace does not run.
    """
    services: dict[str, Any]
    artifacts: list[dict[str, Any]]
    """Recent exports, newest first."""
    snapshots: list[SnapshotInfo]


class WorkspaceDiskExport(TypedDict):
    """The disk of a stopped workspace as a file on the host."""

    workspace_id: str
    output_path: str
    disk_format: Literal["raw ext4"]
    size_bytes: int
    """Apparent size; the file is sparse."""
    allocated_bytes: int
