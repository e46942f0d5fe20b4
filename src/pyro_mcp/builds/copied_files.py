"""Find the files that COPY and ADD name (in the build context, a stage, a here-document) and plan their copies."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.guest_protocol.tree_stream import TreeEntry
from pyro_mcp.trees import GuestTree, host_edits, prepare_seed

_PIECE = 1024 * 1024
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_WILDCARDS = frozenset(b"*?[")


@dataclass(frozen=True)
class CopySource:
    """One source of COPY: its name, and the edits that copy it.

    The edits' paths are relative to the source; the first edit is the source itself, with an empty path.
    """

    name: bytes
    edits: Sequence[Edit]

    def __post_init__(self) -> None:
        if not self.edits:
            raise InvalidRequest(
                f"{os.fsdecode(self.name)} is a pipe, a socket or a device, which COPY and ADD do not copy",
                hint="name a file or a folder; pipes, sockets and devices in a folder are left out",
            )

    @property
    def is_folder(self) -> bool:
        return self.edits[0].action == "d"


def copy_edits(
    sources: Sequence[CopySource], dest: str, tree: GuestTree, *, mode: int | None
) -> tuple[list[Edit], list[bytes]]:
    """Return the edits that copy `sources` to `dest`, an absolute path, and the paths of the copies.

    `mode`, if given, replaces the modes of files and folders. As in Docker, the content of a folder is copied, and a
    file is copied into `dest` if that is a folder, ends in a slash, or there are several sources.
    """
    inner = tree.inner_path(dest)
    into = dest.endswith("/") or len(sources) > 1 or any(source.is_folder for source in sources) or not inner
    if not into:
        found = tree.entries([inner], depth=0, skip_missing=True)
        into = bool(found) and found[0].kind == "d"
    edits = [Edit(inner, "d")] if into and inner else []
    paths: list[bytes] = []
    for source in sources:
        top = inner if source.is_folder or not into else posixpath.join(inner, source.name)
        for edit in source.edits:
            path = posixpath.join(top, edit.path) if edit.path else top
            if edit.path or not source.is_folder:
                kept_mode = edit.mode if mode is None or edit.action == "l" else mode
                edits.append(replace(edit, path=path, mode=kept_mode))
                paths.append(path)
    return edits, paths


def heredoc_source(name: str, content: str) -> CopySource:
    """Return the file that a here-document of COPY or ADD holds."""
    data = content.encode(errors="surrogateescape")
    return CopySource(name.encode(), [Edit(b"", "f", 0o644, size=len(data), content=[data] if data else [])])


class BuildContext:
    """The build context: the folder that COPY and ADD read. `ignored` tests paths against its .dockerignore."""

    def __init__(self, folder: Path, ignored: Callable[[str], bool]) -> None:
        self._root = os.path.realpath(folder)
        self._ignored = ignored

    def sources(self, pattern: str) -> list[CopySource]:
        """Return the sources that match a path or pattern.

        Raises `NotFound` when nothing matches, and `InvalidRequest` for a path that leaves the context.
        """
        relative = posixpath.normpath("/" + pattern).lstrip("/") or "."
        if ".." in pattern.split("/"):
            raise InvalidRequest(f"{pattern} leaves the build context")
        if any(wildcard in relative for wildcard in "*?["):
            names = sorted(glob.glob(relative, root_dir=self._root, include_hidden=True))
        else:
            names = [relative] if os.path.lexists(os.path.join(self._root, relative)) else []
        found = [source for name in names if (source := self._source(name)) is not None]
        if not found:
            raise NotFound(f"there is no {pattern} in the build context {self._root}", hint=self._hint(relative))
        return found

    def unpacked_sources(self, pattern: str, work: Path) -> list[CopySource]:
        """Return the sources that ADD copies: like `sources`, but an archive stands for its content.

        Archives are unpacked below `work`, an empty folder.
        """
        found = []
        for number, source in enumerate(self.sources(pattern)):
            name = os.fsdecode(source.name)
            if source.is_folder or not name.lower().endswith(_ARCHIVES):
                found.append(source)
                continue
            target = work / str(number)
            target.mkdir()
            archive = os.path.join(self._root, posixpath.dirname(pattern.lstrip("/")), name)
            seed = prepare_seed(Path(archive), target)
            found.append(CopySource(b"", list(host_edits(os.fsencode(seed.tree)))))
        return found

    def _hint(self, relative: str) -> str:
        if self._ignored(relative):
            return "the context's .dockerignore excludes it"
        return "paths are relative to the build context"

    def _source(self, name: str) -> CopySource | None:
        path = os.path.realpath(os.path.join(self._root, name))
        if path != self._root and not path.startswith(self._root + "/"):
            raise InvalidRequest(f"{name} is a link that leaves the build context")
        if name != "." and self._ignored(name) and not os.path.isdir(path):
            return None
        top = "" if name == "." else name
        # An ignored folder is read too: a later rule may include something in it again.
        edits = [
            edit
            for edit in host_edits(os.fsencode(path))
            if not edit.path or not self._ignored(posixpath.join(top, os.fsdecode(edit.path)))
        ]
        return CopySource(os.fsencode(posixpath.basename(name)), edits)


class Spool:
    """Reads files from one machine in order to copy them into another; their contents follow each other in one file.

    No name that comes from a guest becomes a path on the host.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._edits: list[Edit] = []
        self._top = b""

    def read(self, tree: GuestTree, pattern: str) -> list[CopySource]:
        """Return the sources that a path names in a machine; only its last component may be a pattern."""
        inner = tree.inner_path(pattern)
        folder, _, name = inner.rpartition(b"/")
        if _WILDCARDS & set(folder):
            raise InvalidRequest(f"{pattern}: only the last component of a path in another stage may be a pattern")
        if not _WILDCARDS & set(name):
            return [self._source(tree, inner)]
        paths = [entry.path for entry in tree.entries([folder], depth=1)]
        matching = [path for path in paths if path != folder and fnmatch.fnmatchcase(path.rpartition(b"/")[2], name)]
        if not matching:
            raise NotFound(f"there is no {pattern} in that stage")
        return [self._source(tree, path) for path in matching]

    def _source(self, tree: GuestTree, inner: bytes) -> CopySource:
        self._edits, self._top = [], inner
        tree.walk(self, [inner], content=None, follow=bool(inner))
        return CopySource(inner.rpartition(b"/")[2], self._edits)

    def entry(self, entry: TreeEntry) -> None:
        path = entry.path[len(self._top) :].lstrip(b"/")
        if entry.kind == "d":
            self._edits.append(Edit(path, "d", entry.mode))
        elif entry.kind == "l":
            self._edits.append(Edit(path, "l", mtime_ns=entry.mtime_ns, target=entry.target))
        elif entry.kind == "f":
            content = _slice(self._file, self._file.seek(0, os.SEEK_END), entry.size)
            self._edits.append(Edit(path, "f", entry.mode, entry.mtime_ns, size=entry.size, content=content))

    def data(self, piece: bytes) -> None:
        self._file.write(piece)

    def file_end(self) -> None:
        pass


def _slice(file: IO[bytes], start: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of a file from `start` on, or fewer if it ends before."""
    offset, end = start, start + size
    while offset < end:
        file.seek(offset)
        data = file.read(min(_PIECE, end - offset))
        if not data:
            return
        offset += len(data)
        yield data


def discarded_folders(paths: Iterable[bytes]) -> list[str]:
    """Return the top folders of `paths` whose content an environment does not include, such as /tmp."""
    tops = {path.partition(b"/")[0] for path in paths}
    return sorted(f"/{os.fsdecode(top)}" for top in tops & {b"workspace", b"tmp", b"run", b"dev", b"proc", b"sys"})
