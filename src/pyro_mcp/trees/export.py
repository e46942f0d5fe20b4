"""A file or folder of a workspace, copied to the host."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.errors import Conflict, InvalidRequest, NotFound, ProtocolViolation
from pyro_mcp.host.files import no_space
from pyro_mcp.host.process import run
from pyro_mcp.results import Export, SkippedEntry
from pyro_mcp.trees.files import ARTIFACT_TYPES, NOUNS
from pyro_mcp.trees.landing import Landing, LandingFile
from pyro_mcp.trees.stream import Entry
from pyro_mcp.trees.tree import Tree, guest_path, inner_path

_NAME = b"new"
_REMOVAL_DEADLINE = 600.0


def export(tree: Tree, path: str | bytes, output: Path, *, overwrite: bool) -> Export:
    """Copy one file or folder to `output`, which appears whole or not at all.

    Kept are contents, times, modes without set-id bits, and links that stay inside the copy; a folder can always be
    used by its owner. What else there is comes back in `skipped`. Raises `NotFound`, `Conflict` when something is at
    `output` and it may not be replaced, `NoSpace`.
    """
    inner = inner_path(path)
    target = Path(os.path.abspath(output))
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent} to put the copy in", hint="make it first")
    if not overwrite:
        _refuse_existing(target)
    with _staging(target) as staging:
        with Landing(staging) as landing:
            copy = _Copy(landing, inner)
            try:
                tree.walk(copy, [inner], content=None)
                copy.finish()
            finally:
                copy.file_end()
        _put_in_place(staging, target, overwrite=overwrite)
    return {
        "workspace_path": guest_path(inner),
        "output_path": str(target),
        "artifact_type": ARTIFACT_TYPES[copy.first().kind],
        "entry_count": copy.entry_count,
        "bytes_written": copy.bytes_written,
        "skipped": copy.skipped,
    }


class _Copy:
    """A receiver that writes a walk to the host. The walk's first entry becomes the copy's root."""

    def __init__(self, landing: Landing, root: bytes) -> None:
        self.entry_count = 0
        self.bytes_written = 0
        self.skipped: list[SkippedEntry] = []
        self._landing = landing
        self._root = root
        self._first: Entry | None = None
        self._folders: set[bytes] = set()
        self._links: list[tuple[bytes, Entry]] = []
        self._file: LandingFile | None = None

    def first(self) -> Entry:
        if self._first is None:
            raise ProtocolViolation("the guest's tool did not name what was asked for")
        return self._first

    def entry(self, entry: Entry) -> None:
        below = entry.path[len(self._root) :].lstrip(b"/")
        path = _NAME + b"/" + below if below else _NAME
        if self._first is None:
            self._first = _exportable(entry)
            if below:
                raise ProtocolViolation("the guest's tool did not begin with what was asked for")
        elif path.rpartition(b"/")[0] not in self._folders:
            raise ProtocolViolation(f"the guest's tool named {entry.path[:200]!r} before the folder it is in")
        if entry.kind == "l":
            self._links.append((path, entry))
            return
        if entry.kind == "d":
            self._landing.folder(path, entry.mode)
            self._folders.add(path)
        elif entry.kind == "f":
            self._file = self._landing.file(path, entry.mode, entry.mtime_ns)
        else:
            self._skip(entry, f"it is {NOUNS[entry.kind]}")
            return
        self.entry_count += 1

    def data(self, piece: bytes) -> None:
        assert self._file is not None  # the parser lets data come after a file only
        self._file.write(piece)
        self.bytes_written += len(piece)

    def file_end(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def finish(self) -> None:
        """Make the links, now that nothing can be written through them any more, and set the folders' modes."""
        self.first()
        for path, entry in self._links:
            if reason := _leads_out(path.count(b"/") - 1, entry.target):
                self._skip(entry, reason)
            else:
                self._landing.link(path, entry.target)
                self.entry_count += 1
        self._landing.finish()

    def _skip(self, entry: Entry, reason: str) -> None:
        self.skipped.append({"path": guest_path(entry.path), "reason": reason})


def _exportable(entry: Entry) -> Entry:
    if entry.kind not in "fd":
        hint = f"it leads to {os.fsdecode(entry.target)}" if entry.kind == "l" else ""
        raise InvalidRequest(
            f"{guest_path(entry.path)} is {NOUNS[entry.kind]}; a file or a folder can be exported", hint=hint
        )
    return entry


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


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise Conflict(f"{target} exists already", hint="choose another place, or add --overwrite to replace it")


def _refuse_to_lose(target: Path, new: Path) -> None:
    """Replacing is for an earlier copy: never a folder by a file, nor a folder that people or programs live in."""
    was_folder = target.is_dir() and not target.is_symlink()
    if was_folder != (new.is_dir() and not new.is_symlink()) or not (was_folder or target.is_file()):
        raise Conflict(f"{target} is of another kind than what would replace it", hint="remove it yourself")
    lived_in = [Path.cwd(), Path.home()] if was_folder else []
    if os.path.ismount(target) or any(path.resolve().is_relative_to(target.resolve()) for path in lived_in):
        raise Conflict(f"{target} holds your home or working folder, or a mount", hint="choose another place")


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A private folder beside the target, gone at the end."""
    folder = target.parent / f".pyro-export-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InvalidRequest(f"nothing can be put into {target.parent}: {error.strerror}") from error
    try:
        yield folder
    finally:
        # Not shutil.rmtree: that recurses, and a guest may nest folders deeper than Python's stack.
        run(["rm", "-rf", "--", folder], deadline_seconds=_REMOVAL_DEADLINE)


def _put_in_place(staging: Path, target: Path, *, overwrite: bool) -> None:
    new, old = staging / os.fsdecode(_NAME), staging / "old"
    try:
        if overwrite and os.path.lexists(target):
            _refuse_to_lose(target, new)
            target.rename(old)
        _refuse_existing(target)
        new.rename(target)
    except BaseException as error:
        if os.path.lexists(old):
            old.rename(target)
        if isinstance(error, OSError):
            if (full := no_space(error, target)) is not error:
                raise full from error
            raise InvalidRequest(f"the copy cannot be put at {target}: {error.strerror}") from error
        raise
