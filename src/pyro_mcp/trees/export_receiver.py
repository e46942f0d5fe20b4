"""A walk of the guest's tree, written to the host: what is kept, what is left out, how much at most."""

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
"""The copy's name in its staging folder."""
MOST_NAMED = 1000
"""Left out entries that a result names; the others are counted."""
_LARGEST_FILE = 4 << 40  # with its holes; what the usual file systems can hold at least
_MOST_REPOSITORIES = 100
_MOST_COMPARED = 500
_KEPT_BYTES = 256 * 1024
_OF_A_REPOSITORY = (b"HEAD", b"refs", b"commondir")
_SETTINGS_NAMED = 8


@dataclass(frozen=True)
class ExportLimits:
    """How much one copy may put on the host: bytes on the disk, and files, folders and links."""

    bytes: int
    entries: int


class ExportReceiver:
    """A receiver that writes a walk to the host. The walk's first entry becomes the copy's root."""

    def __init__(self, landing: SafeWriter, root: bytes, bounds: ExportLimits) -> None:
        self.entry_count = 0
        self.bytes_written = 0
        self.skipped: list[SkippedEntry] = []
        self.skipped_count = 0
        self._landing = landing
        self._root = root
        self._bounds = bounds
        self._first: TreeEntry | None = None
        self._folders: set[bytes] = set()
        self._left_out = b""  # the folder that was left out last, with all that is in it
        self._links: list[tuple[bytes, TreeEntry]] = []
        self._current: TreeEntry | None = None
        self._file: SafeFile | None = None
        self._file_path = b""
        self._file_bytes = 0  # of data
        self._file_end = 0  # with holes
        self._kept: bytearray | None = None  # the content of the file, where that matters
        self._configs: list[tuple[bytes, TreeEntry, bytearray]] = []
        self._repositories: dict[bytes, bytes] = {}  # .git folders on the host, by their paths in the guest
        self._bare: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._self_running: dict[bytes, tuple[TreeEntry, bytearray]] = {}

    def first(self) -> TreeEntry:
        if self._first is None:
            raise ProtocolViolation("the guest's tool did not name what was asked for")
        return self._first

    def entry(self, entry: TreeEntry) -> None:
        self._current, self._kept = entry, None
        path = self._place(entry)
        if self._left_out and entry.path.startswith(self._left_out + b"/"):
            return
        part = git_folders.git_folder(entry.path)
        if part is not None and not self._is_wanted_of_git(entry, path, *part):
            return
        if self._first is entry:
            _require_exportable(entry)
        elif posixpath.dirname(path) not in self._folders:
            raise ProtocolViolation(f"the guest's tool named {entry.path[:200]!r} before the folder it is in")
        if entry.kind not in "fdl":
            self._skip(entry, f"it is {NOUNS[entry.kind]}")
        elif self.entry_count + len(self._links) >= self._bounds.entries:
            self._skip(entry, f"the copy has {self._bounds.entries} entries already; raise max_entries")
        elif self._kept is None:
            self._make(entry, path, in_git=part is not None)

    def data(self, piece: bytes) -> None:
        self._keep(piece)
        if self._file is None:
            return
        if self.bytes_written + len(piece) > self._bounds.bytes:
            self._drop_file(f"with it the copy would hold more than {self._bounds.bytes} bytes; raise max_bytes")
            return
        self._file.write(piece)
        self.bytes_written += len(piece)
        self._file_bytes += len(piece)
        self._file_end += len(piece)

    def hole(self, size: int) -> None:
        self._keep(bytes(min(size, _KEPT_BYTES)))
        if self._file is None:
            return
        self._file_end += size
        if self._file_end > _LARGEST_FILE:
            self._drop_file(f"it seems to hold more than {_LARGEST_FILE} bytes, however few are in it")
        else:
            self._file.skip(size)

    def unlisted(self, path: bytes) -> None:
        """Note a folder that lies too deep to be listed."""
        self._note(guest_path(path), "what is in this folder lies too deep to be copied")

    def file_end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def finish(self) -> None:
        """Make what could not be made before: links, now that nothing is written any more, settings and modes."""
        _require_exportable(self.first())
        for path, entry in self._links:
            if reason := _leads_out(path.count(b"/") - 1, entry.target):
                self._skip(entry, reason)
            else:
                self._landing.link(path, entry.target)
                self.entry_count += 1
        for path, entry, text in self._configs:
            self._write_config(path, entry, bytes(text))
        for folder, names in self._bare.items():
            if git_folders.looks_like_a_repository(names):
                self._disarm(folder)
        self._landing.finish()

    def make_indexes(self, staging: Path) -> None:
        """Have git make the index of each repository from its HEAD: the guest's may name any file of the host."""
        for there, path in self._repositories.items():
            folder = Repository(staging / os.fsdecode(path))
            try:
                folder.git("rev-parse", "--verify", "--quiet", "HEAD")
            except PyroError:
                continue  # nothing is committed, or it is broken, which git says better
            try:
                folder.git("read-tree", "HEAD")
            except PyroError as error:
                self._note(guest_path(there + b"/index"), f"git cannot make it from HEAD: {error.message[-200:]}")

    def self_running(self, tree: GuestTree) -> list[SelfRunningFile]:
        """Name the files that some tool runs by itself and that are not as they were in the seed."""
        paths = sorted(self._self_running)
        try:
            before = tree.contents(paths, _KEPT_BYTES, view="baseline", skip_missing=True) if paths else {}
        except NotFound:
            before = {}  # a sandbox without a baseline
        changed = [path for path in paths if not _is_same(self._self_running[path], before.get(path))]
        return [
            {"path": guest_path(path), "tool": program_that_runs(path)}
            for path in first_of_each_folder(changed, MOST_NAMED)
        ]

    def _place(self, entry: TreeEntry) -> bytes:
        """Where an entry goes below the staging folder; raises `ProtocolViolation` for a wrong first one."""
        below = entry.path[len(self._root) :].lstrip(b"/")
        if self._first is None:
            self._first = entry
            if below:
                raise ProtocolViolation("the guest's tool did not begin with what was asked for")
        return ROOT + b"/" + below if below else ROOT

    def _is_wanted_of_git(self, entry: TreeEntry, path: bytes, folder: bytes, below: bytes) -> bool:
        """Whether a path at or below a `.git` comes along as it is."""
        found = git_folders.verdict(folder, below, entry.kind)
        if found == "keep" and not below:
            if len(self._repositories) >= _MOST_REPOSITORIES:
                found = "drop"
            else:
                self._repositories[folder] = path
        if found == "config" and entry.size <= _KEPT_BYTES:
            self._kept = bytearray()
            self._configs.append((path, entry, self._kept))
        elif found != "keep":
            if entry is self._first:
                raise InvalidRequest(
                    f"{guest_path(entry.path)} is not exported: git could run what is in it",
                    hint="read it in the workspace, or export the folder around it",
                )
            if found != "drop silently":
                self._skip(entry, "git could run what is in it, or follow it to something else")
        return found in ("keep", "config")

    def _make(self, entry: TreeEntry, path: bytes, *, in_git: bool) -> None:
        folder, _, name = path.rpartition(b"/")
        if not in_git and name in _OF_A_REPOSITORY and (name, entry.kind) != (b"HEAD", "d"):
            self._bare[folder].add(name)
        if entry.kind == "d":
            self._landing.folder(path, entry.mode)
            self._folders.add(path)
            self.entry_count += 1
            return
        if not in_git and len(self._self_running) < _MOST_COMPARED and program_that_runs(entry.path):
            self._kept = bytearray()
            self._self_running[entry.path] = (entry, self._kept)
        if entry.kind == "l":
            self._links.append((path, entry))
        else:
            self._file, self._file_path = self._landing.file(path, entry.mode, entry.mtime_ns), path
            self._file_bytes = self._file_end = 0
            self.entry_count += 1

    def _drop_file(self, reason: str) -> None:
        """Leave out the file that is being written."""
        assert self._current is not None
        if self._current is self._first:
            raise InvalidRequest(f"{guest_path(self._current.path)} cannot be copied: {reason}")
        self.file_end()
        self._landing.remove(self._file_path)
        self.bytes_written -= self._file_bytes
        self.entry_count -= 1
        self._skip(self._current, reason)

    def _keep(self, piece: bytes) -> None:
        if self._kept is not None:
            self._kept += piece[: _KEPT_BYTES - len(self._kept)]

    def _write_config(self, path: bytes, entry: TreeEntry, text: bytes) -> None:
        text, left_out = git_folders.safe_config(text)
        file = self._landing.file(path, entry.mode, entry.mtime_ns)
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
        """Leave out HEAD, without which git does not take a folder for a repository."""
        path = folder + b"/HEAD"
        self._landing.remove(path)
        self.entry_count -= 1
        inner = posixpath.join(self._root, path[len(ROOT) + 1 :])
        self._note(guest_path(inner), "with it git would take the folder for a repository and obey its settings")

    def _skip(self, entry: TreeEntry, reason: str) -> None:
        if entry.kind == "d":
            self._left_out = entry.path
        self._self_running.pop(entry.path, None)
        self._note(guest_path(entry.path), reason)

    def _note(self, path: str, reason: str) -> None:
        self.skipped_count += 1
        if len(self.skipped) < MOST_NAMED:
            self.skipped.append({"path": path, "reason": reason})


def _is_same(now: tuple[TreeEntry, bytearray], before: tuple[TreeEntry, bytes] | None) -> bool:
    """Whether a file or link is as in the baseline; one that is too large to compare is not."""
    if before is None:
        return False
    (entry, content), (old, old_content) = now, before
    facts = (entry.kind, entry.size, entry.target, bytes(content))
    return facts == (old.kind, old.size, old.target, old_content) and entry.size <= _KEPT_BYTES


def _require_exportable(entry: TreeEntry) -> None:
    if entry.kind not in "fd":
        hint = f"it leads to {os.fsdecode(entry.target)}" if entry.kind == "l" else ""
        raise InvalidRequest(
            f"{guest_path(entry.path)} is {NOUNS[entry.kind]}; a file or a folder can be exported", hint=hint
        )


def _leads_out(depth: int, target: bytes) -> str:
    """Why a link, so many folders below the copy's root, may lead out of it; "" when it cannot.

    A ".." after a name would go up from wherever that name leads, should it be a link too.
    """
    if target.startswith(b"/"):
        return "it is a link with an absolute target"
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    ups = next((at for at, name in enumerate(names) if name != b".."), len(names))
    if ups > depth:
        return "it is a link that leads out of the copy"
    return "it is a link that leads up again after a name" if b".." in names[ups:] else ""
