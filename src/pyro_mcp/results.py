"""The result shapes that every surface shares: what `--json` prints, the SDK returns and MCP sends.

All are JSON-ready. Sizes are bytes, moments are seconds since 1970 (UTC), digests are "sha256:" and 64 hex digits.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class EnvironmentSummary(TypedDict):
    """One environment as a list shows it."""

    name: str
    version: str
    """The recipe's version, or the manifest digest for `oci:` names."""
    source: Literal["debian", "oci"]
    description: str
    installed: bool
    size_bytes: int | None
    """Size of the installed image file; None when it is not installed."""


class EnvironmentDetails(EnvironmentSummary):
    """One environment with all that is known about it; what only a build can tell is None until it is installed."""

    packages: list[str]
    """The Debian packages that the recipe asks for; empty for `oci:` names."""
    path: str | None
    """The image file: EROFS, read-only."""
    digest: str | None
    """Digest of the image file."""
    environ: dict[str, str]
    """The default environment of its commands; empty when it is not installed."""
    built_at: float | None
    """Moment of the build."""


class PruneReport(TypedDict):
    """What a prune removed."""

    removed: list[str]
    """Each as "NAME VERSION"; leftovers of interrupted work are not named."""
    skipped: list[str]
    """Folders of the cache in which somebody was working at the time."""
    freed_bytes: int
    """Disk space given back."""


class EnvironmentList(TypedDict):
    """The catalogue, then what is installed of registries."""

    count: int
    environments: list[EnvironmentSummary]


class VmInfo(TypedDict):
    """One one-shot machine."""

    vm_id: str
    environment: str
    environment_version: str
    state: Literal["created", "starting", "running", "executing", "stopping", "stopped", "deleting", "failed"]
    vcpu_count: int
    mem_mib: int
    network: bool
    allow_host_compat: bool
    execution_mode: str | None
    """`guest_virtio` in a virtual machine, `host_compat` without one; None until it is started."""
    accelerator: str | None
    """`kvm`, `tcg` (software emulation) or `none`; None until it is started."""
    created_at: float
    expires_at: float
    """Moment from which it does not exist any more."""
    failure: str | None
    """Why its state is `failed`."""


class Cleanup(TypedDict):
    """What became of a machine after its command."""

    deleted: bool
    reason: str


class CommandEnd(TypedDict):
    """How a command ended."""

    exit_code: int
    """The program's; 126 or 127 when it could not be started, 128+n when signal n ended it, 124 at the time limit."""
    signal: int | None
    timed_out: bool
    stdout: str
    """The first part, as UTF-8 with broken bytes replaced."""
    stderr: str
    stdout_bytes: int
    """True size, also of what `stdout` does not hold."""
    stderr_bytes: int
    truncated: bool
    duration_ms: float


class VmExecResult(CommandEnd):
    """How a command ended, and where it ran."""

    vm_id: str
    environment: str
    environment_version: str
    command: str | list[str]
    execution_mode: str
    accelerator: str
    cleanup: Cleanup


class VmDeleted(TypedDict):
    """A machine that is no more."""

    vm_id: str
    deleted: bool


class VmNetworkInfo(TypedDict):
    """What network a machine has."""

    vm_id: str
    network: bool
    policy: Literal["off"]


class ReapReport(TypedDict):
    """The machines that had expired, or whose process had died half way, and are gone now."""

    count: int
    deleted: list[str]


class DoctorCheck(TypedDict):
    """One fact about the host."""

    name: str
    ok: bool
    detail: str
    hint: str
    """What to do when it is not ok."""


class EnvironmentReadiness(TypedDict):
    """How soon a machine of an environment can start."""

    environment: str
    readiness: Literal["warm", "cold", "stale", "absent"]
    """warm: a saved machine is there; stale: one was, but something it was made of has changed; cold: only the image
    is there; absent: not even that."""
    hint: str


class DoctorReport(TypedDict):
    """Whether this host can run machines."""

    ready: bool
    accelerator: str
    accelerator_reason: str
    checks: list[DoctorCheck]
    missing_packages: list[str]
    install_command: str
    environment: EnvironmentReadiness | None


class PrepareReport(TypedDict):
    """An environment that is warm, and the throw-away machine that proved it."""

    environment: str
    environment_version: str
    outcome: Literal["reused", "prepared"]
    execution_mode: str
    accelerator: str
    cold_boot_ms: float
    """What the one real boot took when the saved machine was made."""
    create_ms: float
    exec_ms: float
    reset_ms: float
    delete_ms: float


class DemoReport(TypedDict):
    """The life of one machine, with timings."""

    environment: str
    execution_mode: str
    accelerator: str
    command: list[str]
    stdout: str
    exit_code: int
    create_ms: float
    start_ms: float
    exec_ms: float
    delete_ms: float


class WorkspaceSeed(TypedDict):
    """What /workspace held at first, and where that came from."""

    mode: Literal["empty", "directory", "archive"]
    seed_path: str | None
    destination: str
    entry_count: int
    size_bytes: int
    skipped: list[str]
    """What was left out: sockets, pipes and devices."""
    origin_kind: Literal["empty", "manual_seed_path", "project_path", "repo_url", "fork"]
    origin_ref: str | None


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
    workspace_path: str
    workspace_seed: WorkspaceSeed
    secrets: list[dict[str, str]]
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


class WorkspaceList(TypedDict):
    """Every workspace, the most recently active first."""

    count: int
    workspaces: list[WorkspaceSummary]


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
    reset_count: int
    last_reset_at: float | None
    outcome: dict[str, Any]
    """Counts: commands, failed_commands, edits, patches, exports, changed_files, snapshots, services."""
    commands: dict[str, Any]
    """`total`, `failed`, and `recent`: the last commands with their exit codes, newest first."""
    edits: list[dict[str, Any]]
    """Recent file writes and sync pushes, newest first; `patches` are among them."""
    changes: dict[str, Any]
    """The summary of the diff and its first entries; `available` is false while the workspace does not run."""
    services: dict[str, Any]
    artifacts: list[dict[str, Any]]
    """Recent exports, newest first."""
    snapshots: list[SnapshotInfo]


ArtifactType = Literal["file", "directory", "symlink", "fifo", "socket", "char_device", "block_device"]


class FileEntry(TypedDict):
    """One name of a tree."""

    path: str
    """From /; bytes that are not UTF-8 are as `os.fsdecode` gives them."""
    artifact_type: ArtifactType
    size_bytes: int
    mode: str
    """Four octal digits."""
    modified_at: float
    link_target: str | None


class FileList(TypedDict):
    """A folder's content, or the one thing that is at the path; a folder before what is in it."""

    path: str
    artifact_type: ArtifactType
    recursive: bool
    count: int
    entries: list[FileEntry]


class WorkspaceFileList(FileList):
    """What is at a path of a workspace."""

    workspace_id: str


class FileRead(TypedDict):
    """The first bytes of a regular file."""

    path: str
    size_bytes: int
    """True size, also of what `content` does not hold."""
    max_bytes: int
    truncated: bool
    encoding: Literal["utf-8", "base64"]
    content: str


class WorkspaceFileRead(FileRead):
    """The first bytes of a file of a workspace."""

    workspace_id: str


class FileWrite(TypedDict):
    """A file that was written."""

    path: str
    bytes_written: int
    replaced: bool
    """Whether there was one."""


class WorkspaceFileWrite(FileWrite):
    """A file of a workspace that was written."""

    workspace_id: str


ChangeStatus = Literal["added", "modified", "deleted", "type_changed", "renamed"]


class DiffSummary(TypedDict):
    """How many of each status; and of all, how many `text_patched` shows as text."""

    total: int
    added: int
    modified: int
    deleted: int
    type_changed: int
    renamed: int
    text_patched: int
    non_text: int


class DiffEntry(TypedDict):
    """One path that differs; what it was is None when it was added, what it is when it was deleted."""

    path: str
    """Relative to /workspace."""
    old_path: str | None
    """Where it was before, when it was renamed."""
    status: ChangeStatus
    artifact_type: ArtifactType
    old_artifact_type: ArtifactType | None
    size_bytes: int | None
    old_size_bytes: int | None
    mode: str | None
    old_mode: str | None
    text_patch: str | None
    """Its part of the patch, where that is text."""


class Diff(TypedDict):
    """What differs from the baseline."""

    changed: bool
    summary: DiffSummary
    entries: list[DiffEntry]
    git_changes: int
    """Paths in `.git` folders that differ: in neither the entries nor the patch."""
    patch: str
    """In git's format."""
    patch_complete: bool
    left_out: list[str]
    """Entries that the patch leaves out: too large, or nothing that git could carry."""


class WorkspaceDiff(Diff):
    """What differs from a workspace's baseline."""

    workspace_id: str


class PatchSummary(TypedDict):
    """How many of each status."""

    total: int
    added: int
    modified: int
    deleted: int
    type_changed: int
    renamed: int


class PatchEntry(TypedDict):
    """One file that a patch changed."""

    path: str
    """Relative to /workspace."""
    old_path: str | None
    status: ChangeStatus


class Patch(TypedDict):
    """What a patch did."""

    changed: bool
    summary: PatchSummary
    entries: list[PatchEntry]


class WorkspacePatch(Patch):
    """What a patch did to a workspace."""

    workspace_id: str


class SkippedEntry(TypedDict):
    """Something that was left out, and why."""

    path: str
    reason: str


class Export(TypedDict):
    """A copy on the host."""

    workspace_path: str
    output_path: str
    artifact_type: ArtifactType
    entry_count: int
    bytes_written: int
    skipped: list[SkippedEntry]


class WorkspaceExport(Export):
    """A copy of a part of a workspace on the host."""

    workspace_id: str


class SyncPush(TypedDict):
    """Host content that was copied into a live tree."""

    mode: Literal["directory", "archive"]
    source_path: str
    destination: str
    entry_count: int
    bytes_written: int
    overwritten: list[str]
    """Files and links that were there before; from /."""
    skipped: list[str]


class WorkspaceSyncPush(SyncPush):
    """Host content that was copied into a live workspace."""

    workspace_id: str
