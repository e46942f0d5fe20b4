"""Prepare host content for a workspace: as the seed of its baseline, or pushed into its current tree."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.results import SyncPush
from pyro_mcp.trees.archive import ARCHIVES, unpack
from pyro_mcp.trees.guest_tree import GuestTree, guest_path, inner_path
from pyro_mcp.trees.host_files import file_pieces, host_edits
from pyro_mcp.trees.seed_checks import ignored_paths, may_hold_secrets, remarks

_MAX_NAMED = 10
_MAX_SECRETS = 20
_MAX_EXCLUDED = 1024 * 1024  # bytes of names that fit on a command line
_MAX_NAME = 254  # mkfs.erofs 1.5 fails with 255


@dataclass(frozen=True)
class Seed:
    """A folder of the host whose content becomes a workspace's tree.

    `left_out` are paths in it that are not copied: sockets, pipes and devices, and ignored files where requested.
    `skipped` names them for the user, and the archive's entries that were not unpacked. `ignored_count` and
    `ignored_bytes` count the ignored files that are copied; `likely_secrets` are the first 20 files whose names suggest
    secrets.
    """

    tree: Path
    mode: Literal["directory", "archive"]
    entry_count: int
    size_bytes: int
    left_out: Sequence[bytes] = ()
    skipped: list[str] = field(default_factory=list)
    ignored_count: int = 0
    ignored_bytes: int = 0
    likely_secrets: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def prepare_seed(source: Path, work: Path, *, no_ignored: bool = False, left_out: Sequence[bytes] = ()) -> Seed:
    """Prepare `source` as a seed: a folder as it is, or an archive, which is unpacked into the empty folder `work`.

    The paths `left_out` of a folder are not copied. With `no_ignored`, files that the `.gitignore` files ignore are
    left out unless git tracks them. Raises `NotFound`, and `InvalidRequest` for a source that is neither, cannot be
    read, or is a damaged archive.
    """
    try:
        found = source.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"there is no {source}", hint="give a folder, or an archive: " + ", ".join(ARCHIVES)) from error
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read {str(source)!r}: {error}") from error
    if stat.S_ISDIR(found.st_mode):
        seed = _scanned(source, "directory", [], no_ignored=no_ignored)
        return replace(seed, left_out=[*seed.left_out, *left_out]) if left_out else seed
    if stat.S_ISREG(found.st_mode) and source.name.lower().endswith(ARCHIVES):
        unpacked = unpack(source, work)
        seed = _scanned(work, "archive", unpacked.skipped, no_ignored=no_ignored)
        if no_ignored:
            return seed
        # Count a file with two names once, as in the archive.
        return replace(seed, entry_count=unpacked.entry_count, size_bytes=unpacked.size_bytes)
    raise InvalidRequest(f"{source} is neither a folder nor an archive", hint="archives are: " + ", ".join(ARCHIVES))


def _scanned(tree: Path, mode: Literal["directory", "archive"], skipped: list[str], *, no_ignored: bool) -> Seed:
    """Scan a folder and return it as a seed."""
    ignored = ignored_paths(tree)
    if ignored is None and no_ignored:
        raise InvalidRequest(
            f"git cannot tell which files in {tree} are ignored",
            hint=Hint.joined("repair the repository", Hint("leave out {}", Argument("no_ignored", True))),
        )
    if no_ignored and sum(map(len, ignored or ())) > _MAX_EXCLUDED:
        raise InvalidRequest(
            f"{len(ignored or ())} files of {tree} are ignored one by one, too many to leave out",
            hint="ignore the folders that they are in",
        )
    scan = _Scan(os.fsencode(tree), ignored or set(), leave_out=no_ignored)
    return Seed(
        tree,
        mode,
        scan.entry_count,
        scan.size_bytes,
        [*scan.special, *(ignored or () if no_ignored else ())],
        [*skipped, *scan.special_names()],
        scan.ignored_count,
        scan.ignored_bytes,
        [os.fsdecode(path) for path in scan.likely_secrets],
        list(remarks(tree, scan.git_files))[:_MAX_NAMED],
    )


def push_seed(tree: GuestTree, seed: Seed) -> None:
    """Copy a prepared seed into an empty /workspace: all of it or nothing."""
    tree.apply(_SeedEdits(os.path.realpath(os.fsencode(seed.tree)), b"", set(seed.left_out)))


def push(tree: GuestTree, source: Path, dest: str | bytes) -> SyncPush:
    """Copy a file, or the content of a folder or an archive, into the current tree below `dest`: all of it or nothing.

    Existing folders keep their other content. A file that is not an archive is copied to `dest`, or into `dest` if that
    is a folder or ends in a slash. Raises what `prepare_seed` raises, and `InvalidRequest` if a folder would replace a
    file, or a file a folder.
    """
    inner = inner_path(dest)
    if _is_plain_file(source):
        return _push_file(tree, source, inner, into_folder=os.fsencode(dest).endswith(b"/"))
    with temporary_folder() as work:
        seed = prepare_seed(source, work)
        edits = _SeedEdits(os.path.realpath(os.fsencode(seed.tree)), inner, set(seed.left_out))
        results = tree.apply(edits)
    folders = edits.folders
    return {
        "mode": seed.mode,
        "source_path": str(source.absolute()),
        "destination": guest_path(inner),
        "entry_count": seed.entry_count,
        "bytes_written": seed.size_bytes,
        "overwritten": [guest_path(one.path) for one in results if one.replaced and one.path not in folders],
        "skipped": seed.skipped,
    }


def _is_plain_file(source: Path) -> bool:
    try:
        return source.is_file() and not source.name.lower().endswith(ARCHIVES)
    except (OSError, ValueError):
        return False  # prepare_seed raises the error


def _push_file(tree: GuestTree, source: Path, inner: bytes, *, into_folder: bool) -> SyncPush:
    found = tree.entries([inner], depth=0, skip_missing=True)
    if into_folder or not inner or (found and found[0].kind == "d"):
        inner = os.path.join(inner, os.fsencode(source.name))
    try:
        status = source.stat()
        content = file_pieces(os.fsencode(source.resolve()))
        edit = Edit(
            inner, "f", stat.S_IMODE(status.st_mode) & 0o777, status.st_mtime_ns, size=status.st_size, content=content
        )
        (result,) = tree.apply([edit])
    except OSError as error:
        raise InvalidRequest(f"cannot read {source}: {error.strerror}") from error
    return {
        "mode": "file",
        "source_path": str(source.absolute()),
        "destination": guest_path(inner),
        "entry_count": 1,
        "bytes_written": status.st_size,
        "overwritten": [guest_path(inner)] if result.replaced else [],
        "skipped": [],
    }


class _Scan:
    """Counts a folder's content, finds special and ignored files, and checks that the others can be read."""

    def __init__(self, root: bytes, ignored: set[bytes], *, leave_out: bool) -> None:
        self.entry_count = 0
        self.size_bytes = 0
        self.ignored_count = 0
        self.ignored_bytes = 0
        self.special: list[bytes] = []
        self.likely_secrets: list[bytes] = []
        self.git_files: list[bytes] = []
        self._ignored = ignored
        self._leave_out = leave_out
        self._unreadable: list[bytes] = []
        # Root can read every file; a check would take as long as the rest of the scan.
        self._checks_access = os.geteuid() != 0
        self._scan(root)
        if self._unreadable:
            names = ", ".join(os.fsdecode(path) or "." for path in self._unreadable[:_MAX_NAMED])
            more = len(self._unreadable) - _MAX_NAMED
            raise InvalidRequest(
                f"cannot read in {os.fsdecode(root)}: {names}{f' and {more} more' if more > 0 else ''}",
                hint="make it readable, or move it out of the folder",
            )

    def special_names(self) -> list[str]:
        return [os.fsdecode(path) for path in self.special]

    def _scan(self, root: bytes) -> None:
        waiting = [(b"", False)]
        while waiting:
            inner, in_ignored = waiting.pop()
            try:
                with os.scandir(os.path.join(root, inner)) as names:
                    for entry in names:
                        path = os.path.join(inner, entry.name)
                        ignored = in_ignored or path in self._ignored
                        if not (ignored and self._leave_out) and self._entry(entry, path, ignored=ignored):
                            waiting.append((path, ignored))
            except OSError:
                self._unreadable.append(inner)

    def _entry(self, entry: os.DirEntry[bytes], path: bytes, *, ignored: bool) -> bool:
        """Count one entry; return whether it is a folder to scan."""
        if len(entry.name) > _MAX_NAME:
            raise InvalidRequest(
                f"the name {os.fsdecode(entry.name)[:40]}… has {len(entry.name)} bytes",
                hint=f"the limit in a seed is {_MAX_NAME}; shorten the name or move the file",
            )
        is_link, is_folder = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
        if not is_link and not is_folder and not entry.is_file(follow_symlinks=False):
            self.special.append(path)
            return False
        self.entry_count += 1
        if not is_link and not is_folder:
            size = entry.stat(follow_symlinks=False).st_size
            self.size_bytes += size
            self.ignored_count += ignored
            self.ignored_bytes += size if ignored else 0
            if entry.name == b".git":
                self.git_files.append(path)
            if len(self.likely_secrets) < _MAX_SECRETS and may_hold_secrets(path):
                self.likely_secrets.append(path)
            if self._checks_access and not os.access(entry.path, os.R_OK, effective_ids=True):
                self._unreadable.append(path)
        return is_folder


class _SeedEdits:
    """The edits that copy a seed into a guest's folder `inner`, made on demand; `folders` are their folders so far."""

    def __init__(self, root: bytes, inner: bytes, left_out: set[bytes]) -> None:
        self.folders: set[bytes] = set()
        self._root = root
        self._inner = inner
        self._left_out = left_out

    def __iter__(self) -> Iterator[Edit]:
        for edit in host_edits(self._root, is_pruned=self._left_out.__contains__):
            if edit.path:
                placed = replace(edit, path=os.path.join(self._inner, edit.path))
            elif self._inner:
                placed = Edit(self._inner, "d")  # an existing folder keeps its mode
            else:
                continue
            if placed.action == "d":
                self.folders.add(placed.path)
            yield placed
