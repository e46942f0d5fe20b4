"""Write a walk of the guest's tree to the host: decide what the copy includes, within limits."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import InvalidRequest, NotFound, ProtocolViolation, PyroError
from pyro_mcp.guest_protocol.tree_stream import TreeEntry
from pyro_mcp.results import SelfRunningFile, SkippedEntry
from pyro_mcp.trees import git_folders
from pyro_mcp.trees.files import NOUNS
from pyro_mcp.trees.git import Repository
from pyro_mcp.trees.guest_tree import GuestTree, guest_path
from pyro_mcp.trees.safe_writer import SafeFile, SafeWriter
from pyro_mcp.trees.self_running import first_of_each_folder, program_that_runs

ROOT = b"new"
"""The name of the copy in its staging folder."""
MAX_SKIPPED = 1000
"""Skipped entries that a result lists; the others are only counted."""
_MAX_FILE = 4 << 40  # with its holes; all usual file systems can hold it
_MAX_REPOSITORIES = 100
_MAX_COMPARED = 500
_MAX_KEPT = 256 * 1024
_REPOSITORY_NAMES = (b"HEAD", b"refs", b"commondir")
_SETTINGS_NAMED = 8


@dataclass(frozen=True)
class ExportLimits:
    """The limits of one copy: bytes on the disk, and the number of files, folders and links."""

    bytes: int
    entries: int


class ExportReceiver:
    """Receives a walk and writes it to the host. The first entry of the walk becomes the root of the copy."""

    def __init__(self, writer: SafeWriter, root: bytes, limits: ExportLimits) -> None:
        self.entry_count = 0
        self.bytes_written = 0
        self.skipped: list[SkippedEntry] = []
        self.skipped_count = 0
        self._writer = writer
        self._root = root
        self._limits = limits
        self._first: TreeEntry | None = None
        self._folders: set[bytes] = set()
        self._skipped_folder = b""  # the last folder that was skipped, with its content
        self._links: list[tuple[bytes, TreeEntry]] = []
        self._current: TreeEntry | None = None
        self._file: SafeFile | None = None
        self._file_path = b""
        self._file_bytes = 0  # without holes
        self._file_end = 0  # with holes
        self._kept: bytearray | None = None  # the content of the current file, for configs and self-running files
        self._configs: list[tuple[bytes, TreeEntry, bytearray]] = []
        self._repositories: dict[bytes, bytes] = {}  # .git folders of the copy, by their paths in the guest
        self._repository_names: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._self_running: dict[bytes, tuple[TreeEntry, bytearray]] = {}

    def first(self) -> TreeEntry:
        if self._first is None:
            raise ProtocolViolation("the guest tool did not name what was requested")
        return self._first

    def entry(self, entry: TreeEntry) -> None:
        self._current, self._kept = entry, None
        path = self._target_path(entry)
        if self._skipped_folder and entry.path.startswith(self._skipped_folder + b"/"):
            return
        part = git_folders.git_folder(entry.path)
        if part is not None and not self._includes_git_path(entry, path, *part):
            return
        if self._first is entry:
            _require_exportable(entry)
        elif posixpath.dirname(path) not in self._folders:
            raise ProtocolViolation(f"the guest tool named {entry.path[:200]!r} before its folder")
        if entry.kind not in "fdl":
            self._skip(entry, f"it is {NOUNS[entry.kind]}")
        elif self.entry_count + len(self._links) >= self._limits.entries:
            self._skip(entry, f"the copy has {self._limits.entries} entries already; raise max_entries")
        elif self._kept is None:
            self._make(entry, path, in_git=part is not None)

    def data(self, piece: bytes) -> None:
        self._keep(piece)
        if self._file is None:
            return
        if self.bytes_written + len(piece) > self._limits.bytes:
            self._drop_file(f"the copy would exceed {self._limits.bytes} bytes; raise max_bytes")
            return
        self._file.write(piece)
        self.bytes_written += len(piece)
        self._file_bytes += len(piece)
        self._file_end += len(piece)

    def hole(self, size: int) -> None:
        self._keep(bytes(min(size, _MAX_KEPT)))
        if self._file is None:
            return
        self._file_end += size
        if self._file_end > _MAX_FILE:
            self._drop_file(f"it is larger than {_MAX_FILE} bytes, holes included")
        else:
            self._file.skip(size)

    def unlisted(self, path: bytes) -> None:
        """Note a folder whose content is nested too deep to be listed."""
        self._note(guest_path(path), "the content of this folder is nested too deep to be copied")

    def file_end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def finish(self) -> None:
        """Write what must come last: links, once no file is written any more, then git settings and folder modes."""
        _require_exportable(self.first())
        for path, entry in self._links:
            if reason := _why_unsafe(path.count(b"/") - 1, entry.target):
                self._skip(entry, reason)
            else:
                self._writer.make_symlink(path, entry.target)
                self.entry_count += 1
        for path, entry, text in self._configs:
            self._write_config(path, entry, bytes(text))
        for folder, names in self._repository_names.items():
            if git_folders.looks_like_a_repository(names):
                self._disarm(folder)
        self._writer.finish()

    def make_indexes(self, staging: Path) -> None:
        """Let git make the index of each repository from its HEAD: the guest's could name any file of the host."""
        for guest_git, path in self._repositories.items():
            folder = Repository(staging / os.fsdecode(path))
            try:
                folder.git("rev-parse", "--verify", "--quiet", "HEAD")
            except PyroError:
                continue  # no commit yet, or a damaged repository, which git reports better
            try:
                folder.git("read-tree", "HEAD")
            except PyroError as error:
                self._note(guest_path(guest_git + b"/index"), f"git cannot make it from HEAD: {error.message[-200:]}")

    def self_running(self, tree: GuestTree) -> list[SelfRunningFile]:
        """Return the files that some program runs by itself and that differ from the baseline."""
        paths = sorted(self._self_running)
        try:
            before = tree.contents(paths, _MAX_KEPT, view="baseline", skip_missing=True) if paths else {}
        except NotFound:
            before = {}  # a sandbox without a baseline
        changed = [path for path in paths if not _is_same(self._self_running[path], before.get(path))]
        return [
            {"path": guest_path(path), "tool": program_that_runs(path)}
            for path in first_of_each_folder(changed, MAX_SKIPPED)
        ]

    def _target_path(self, entry: TreeEntry) -> bytes:
        """Return the path of an entry below the staging folder; raises `ProtocolViolation` for a wrong first entry."""
        below = entry.path[len(self._root) :].lstrip(b"/")
        if self._first is None:
            self._first = entry
            if below:
                raise ProtocolViolation("the guest tool did not begin with the requested path")
        return ROOT + b"/" + below if below else ROOT

    def _includes_git_path(self, entry: TreeEntry, path: bytes, folder: bytes, below: bytes) -> bool:
        """Return whether the copy includes a path at or below a `.git`; skip the path if not."""
        found = git_folders.verdict(folder, below, entry.kind)
        if found == "keep" and not below:
            if len(self._repositories) >= _MAX_REPOSITORIES:
                found = "drop"
            else:
                self._repositories[folder] = path
        if found == "config" and entry.size <= _MAX_KEPT:
            self._kept = bytearray()
            self._configs.append((path, entry, self._kept))
        elif found != "keep":
            if entry is self._first:
                raise InvalidRequest(
                    f"{guest_path(entry.path)} cannot be exported: git could run programs that it names",
                    hint="read it in the workspace, or export the folder around it",
                )
            if found != "drop silently":
                self._skip(entry, "git could run programs that it names, or follow it to another repository")
        return found in ("keep", "config")

    def _make(self, entry: TreeEntry, path: bytes, *, in_git: bool) -> None:
        folder, _, name = path.rpartition(b"/")
        if not in_git and name in _REPOSITORY_NAMES and (name, entry.kind) != (b"HEAD", "d"):
            self._repository_names[folder].add(name)
        if entry.kind == "d":
            self._writer.make_folder(path, entry.mode)
            self._folders.add(path)
            self.entry_count += 1
            return
        if not in_git and len(self._self_running) < _MAX_COMPARED and program_that_runs(entry.path):
            self._kept = bytearray()
            self._self_running[entry.path] = (entry, self._kept)
        if entry.kind == "l":
            self._links.append((path, entry))
        else:
            self._file, self._file_path = self._writer.create_file(path, entry.mode, entry.mtime_ns), path
            self._file_bytes = self._file_end = 0
            self.entry_count += 1

    def _drop_file(self, reason: str) -> None:
        """Remove and skip the file that is being written."""
        assert self._current is not None
        if self._current is self._first:
            raise InvalidRequest(f"{guest_path(self._current.path)} cannot be copied: {reason}")
        self.file_end()
        self._writer.remove(self._file_path)
        self.bytes_written -= self._file_bytes
        self.entry_count -= 1
        self._skip(self._current, reason)

    def _keep(self, piece: bytes) -> None:
        if self._kept is not None:
            self._kept += piece[: _MAX_KEPT - len(self._kept)]

    def _write_config(self, path: bytes, entry: TreeEntry, text: bytes) -> None:
        text, left_out = git_folders.safe_config(text)
        file = self._writer.create_file(path, entry.mode, entry.mtime_ns)
        try:
            file.write(text)
        finally:
            file.close()
        self.entry_count += 1
        self.bytes_written += len(text)
        if left_out:
            more = f" and {len(left_out) - _SETTINGS_NAMED} more" if len(left_out) > _SETTINGS_NAMED else ""
            names = ", ".join(left_out[:_SETTINGS_NAMED])
            self._note(guest_path(entry.path), f"only these settings of it: {names}{more}")

    def _disarm(self, folder: bytes) -> None:
        """Remove HEAD, without which git does not recognise a folder as a repository."""
        path = folder + b"/HEAD"
        self._writer.remove(path)
        self.entry_count -= 1
        inner = posixpath.join(self._root, path[len(ROOT) + 1 :])
        self._note(guest_path(inner), "with it, git would use the folder as a repository and apply its settings")

    def _skip(self, entry: TreeEntry, reason: str) -> None:
        if entry.kind == "d":
            self._skipped_folder = entry.path
        self._self_running.pop(entry.path, None)
        self._note(guest_path(entry.path), reason)

    def _note(self, path: str, reason: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < MAX_SKIPPED:
            self.skipped.append({"path": path, "reason": reason})


def _is_same(now: tuple[TreeEntry, bytearray], before: tuple[TreeEntry, bytes] | None) -> bool:
    """Return whether a file or link equals that of the baseline; one that is too large to compare does not."""
    if before is None:
        return False
    (entry, content), (old, old_content) = now, before
    facts = (entry.kind, entry.size, entry.target, bytes(content))
    return facts == (old.kind, old.size, old.target, old_content) and entry.size <= _MAX_KEPT


def _require_exportable(entry: TreeEntry) -> None:
    if entry.kind not in "fd":
        hint = f"its target is {os.fsdecode(entry.target)}" if entry.kind == "l" else ""
        raise InvalidRequest(
            f"{guest_path(entry.path)} is {NOUNS[entry.kind]}; a file or a folder can be exported", hint=hint
        )


def _why_unsafe(depth: int, target: bytes) -> str:
    """Return why a link, `depth` folders below the copy's root, may lead out of the copy, or "" if it cannot.

    A ".." after a name is refused: the name may be a link too, and ".." goes up from its target.
    """
    if target.startswith(b"/"):
        return "it is a link with an absolute target"
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    parents = next((at for at, name in enumerate(names) if name != b".."), len(names))
    if parents > depth:
        return "it is a link that leads out of the copy"
    return "it is a link with .. after a name" if b".." in names[parents:] else ""
