"""What is inside a workspace's tree."""

from __future__ import annotations

from typing import Literal, TypedDict

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
    """A part of a regular file."""

    path: str
    size_bytes: int
    """True size, also of what `content` does not hold."""
    offset: int
    """Where `content` begins: a little beside what was asked for where that is within a character or a secret."""
    max_bytes: int
    truncated: bool
    """Whether there is more after it."""
    next_offset: int | None
    """Where to read on; None at the end."""
    encoding: Literal["utf-8", "base64"]
    content: str


class WorkspaceFileRead(FileRead):
    """A part of a file of a workspace."""

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
    ignored_count: int
    """Changed files that are ignored: in neither the entries nor the patch, unless they were asked for."""
    ignored: list[str]
    """The first 20 of them, or the folders that they are in."""
    patch: str
    """In git's format: text first."""
    patch_complete: bool
    """Whether it holds all that the entries tell of."""
    left_out: list[str]
    """Entries that the patch leaves out: not text (unless `binary`), too large, or nothing that git could carry."""


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


class SelfRunningFile(TypedDict):
    """A file that a tool runs, or takes commands from, without being asked."""

    path: str
    tool: str


class Export(TypedDict):
    """A copy on the host."""

    workspace_path: str
    output_path: str
    artifact_type: ArtifactType
    entry_count: int
    bytes_written: int
    skipped: list[SkippedEntry]
    """The first 1,000 of what was left out or changed: special files, links that lead out, what git could run."""
    skipped_count: int
    self_running: list[SelfRunningFile]
    """Files that are not as in the seed and that some tool runs by itself; look at them before you open the copy."""


class WorkspaceExport(Export):
    """A copy of a part of a workspace on the host."""

    workspace_id: str


class SyncPush(TypedDict):
    """Host content that was copied into a live tree."""

    mode: Literal["directory", "archive", "file"]
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
