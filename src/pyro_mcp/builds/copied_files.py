"""What COPY and ADD put into the machine of a build: files of the context, of another stage, or written in place."""

from __future__ import annotations

import fnmatch
import glob
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.guest_protocol.tree_stream import TreeEntry
from pyro_mcp.trees import GuestTree, file_pieces, prepare_seed

_PIECE = 1024 * 1024
_ARCHIVES = (".tar", ".tar.gz", ".tgz")
_WILD = frozenset(b"*?[")


@dataclass(frozen=True)
class Item:
    """One file, folder or link for a machine. `path` is relative to its source, empty for the source itself."""

    path: bytes
    kind: str
    mode: int = 0o755
    mtime_ns: int | None = None
    target: bytes = b""
    size: int = 0
    content: Callable[[], Iterator[bytes]] = lambda: iter(())

    def edit(self, path: bytes, mode: int | None) -> Edit:
        """The edit that puts it at `path`; `mode`, if given, is that of files and folders."""
        if self.kind == "d":
            return Edit(path, "d", mode=self.mode if mode is None else mode)
        if self.kind == "l":
            return Edit(path, "l", mtime_ns=self.mtime_ns, target=self.target)
        wanted = (self.mode if mode is None else mode) & 0o7777
        return Edit(path, "f", wanted, self.mtime_ns, size=self.size, content=_Content(self))


@dataclass(frozen=True)
class _Content:
    """Opens its file only when it is asked for."""

    item: Item

    def __iter__(self) -> Iterator[bytes]:
        return self.item.content()


@dataclass(frozen=True)
class CopySource:
    """What one argument of COPY stands for: its name, and its items, the first of which is itself."""

    name: bytes
    items: Sequence[Item]

    @property
    def is_folder(self) -> bool:
        return self.items[0].kind == "d"


def copy_edits(
    sources: Sequence[CopySource], dest: str, tree: GuestTree, *, mode: int | None
) -> tuple[list[Edit], list[bytes]]:
    """The edits that put `sources` at `dest`, an absolute path, and the paths at which they are then found."""
    inner = tree.inner_path(dest)
    into = dest.endswith("/") or len(sources) > 1 or any(one.is_folder for one in sources) or not inner
    if not into:
        found = tree.entries([inner], depth=0, skip_missing=True)
        into = bool(found) and found[0].kind == "d"
    edits = [Edit(inner, "d")] if into and inner else []
    made: list[bytes] = []
    for source in sources:
        top = inner if source.is_folder or not into else posixpath.join(inner, source.name)
        for item in source.items:
            path = posixpath.join(top, item.path) if item.path else top
            if item.path or not source.is_folder:
                edits.append(item.edit(path, mode))
                made.append(path)
    return edits, made


def heredoc_source(name: str, content: str) -> CopySource:
    """A file whose content stands in the Dockerfile."""
    data = content.encode(errors="surrogateescape")
    return CopySource(
        name.encode(), [Item(b"", "f", 0o644, size=len(data), content=lambda: iter([data] if data else []))]
    )


class BuildContext:
    """The folder from which COPY and ADD take files; `ignored` says what its .dockerignore leaves out."""

    def __init__(self, folder: Path, ignored: Callable[[str], bool]) -> None:
        self._root = os.path.realpath(folder)
        self._ignored = ignored

    def sources(self, pattern: str) -> list[CopySource]:
        """What a path or pattern stands for; raises `NotFound`, and `InvalidRequest` for what leads out."""
        relative = posixpath.normpath("/" + pattern).lstrip("/") or "."
        if ".." in pattern.split("/"):
            raise InvalidRequest(f"{pattern} leads out of the build context")
        if any(sign in relative for sign in "*?["):
            names = sorted(glob.glob(relative, root_dir=self._root, include_hidden=True))
        else:
            names = [relative] if os.path.lexists(os.path.join(self._root, relative)) else []
        found = [source for name in names if (source := self._source(name)) is not None]
        if not found:
            raise NotFound(f"there is no {pattern} in the build context {self._root}", hint=self._hint(relative))
        return found

    def unpacked(self, pattern: str, work: Path) -> list[CopySource]:
        """The same, but the content of an archive in place of it, as ADD wants it; `work` is an empty folder."""
        found = []
        for number, source in enumerate(self.sources(pattern)):
            name = os.fsdecode(source.name)
            if source.is_folder or not name.lower().endswith(_ARCHIVES):
                found.append(source)
                continue
            place = work / str(number)
            place.mkdir()
            path = os.path.join(self._root, posixpath.dirname(pattern.lstrip("/")), name)
            found.append(CopySource(b"", list(_items(os.fsencode(prepare_seed(Path(path), place).tree)))))
        return found

    def _hint(self, relative: str) -> str:
        return "its .dockerignore leaves it out" if self._ignored(relative) else "paths are relative to the context"

    def _source(self, name: str) -> CopySource | None:
        path = os.path.realpath(os.path.join(self._root, name))
        if path != self._root and not path.startswith(self._root + "/"):
            raise InvalidRequest(f"{name} is a link that leads out of the build context")
        if name != "." and self._ignored(name) and not os.path.isdir(path):
            return None
        top = "" if name == "." else name
        items = list(_items(os.fsencode(path), lambda below: self._ignored(posixpath.join(top, os.fsdecode(below)))))
        return CopySource(os.fsencode(posixpath.basename(name)), items)


def _items(root: bytes, ignored: Callable[[bytes], bool] = lambda _: False) -> Iterator[Item]:
    """What lies at and below a path of the host; links are not followed, sockets and devices left out."""
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        item = _item(root, path)
        if item is None:
            continue
        is_folder = item.kind == "d"
        if not path or not ignored(path):
            yield item
        if is_folder:  # a later rule may take in again what is in an ignored folder
            names = os.listdir(os.path.join(root, path))
            waiting += [posixpath.join(path, name) for name in sorted(names, reverse=True)]


def _item(root: bytes, path: bytes) -> Item | None:
    source = os.path.join(root, path) if path else root
    found = os.lstat(source)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISDIR(found.st_mode):
        return Item(path, "d", mode)
    if stat.S_ISLNK(found.st_mode):
        return Item(path, "l", mode, found.st_mtime_ns, os.readlink(source))
    if stat.S_ISREG(found.st_mode):
        return Item(path, "f", mode, found.st_mtime_ns, b"", found.st_size, lambda: file_pieces(source))
    return None


class Spool:
    """Takes files out of one machine, to be put into another: their contents lie one after another in one file.

    No name of a guest's becomes a path on the host.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._items: list[Item] = []
        self._top = b""

    def take(self, tree: GuestTree, pattern: str) -> list[CopySource]:
        """What a path stands for in a machine; only its last part may be a pattern."""
        inner = tree.inner_path(pattern)
        folder, _, name = inner.rpartition(b"/")
        if _WILD & set(folder):
            raise InvalidRequest(f"{pattern}: only the last part of a path in another stage may be a pattern")
        if not _WILD & set(name):
            return [self._source(tree, inner)]
        names = [one.path for one in tree.entries([folder], depth=1)]
        matching = [path for path in names if path != folder and fnmatch.fnmatchcase(path.rpartition(b"/")[2], name)]
        if not matching:
            raise NotFound(f"there is no {pattern} in that stage")
        return [self._source(tree, path) for path in matching]

    def _source(self, tree: GuestTree, inner: bytes) -> CopySource:
        self._items, self._top = [], inner
        tree.walk(self, [inner], content=None, follow=bool(inner))
        return CopySource(inner.rpartition(b"/")[2], self._items)

    def entry(self, entry: TreeEntry) -> None:
        below = entry.path[len(self._top) :].lstrip(b"/")
        if entry.kind not in "fdl":
            return
        start = self._file.seek(0, os.SEEK_END)
        size = entry.size if entry.kind == "f" else 0
        content = _Slice(self._file, start, size)
        self._items.append(Item(below, entry.kind, entry.mode, entry.mtime_ns, entry.target, size, content.pieces))

    def data(self, piece: bytes) -> None:
        self._file.write(piece)

    def file_end(self) -> None:
        pass


@dataclass(frozen=True)
class _Slice:
    """A part of a file."""

    file: IO[bytes]
    start: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        place, end = self.start, self.start + self.size
        while place < end:
            self.file.seek(place)
            data = self.file.read(min(_PIECE, end - place))
            if not data:
                return
            place += len(data)
            yield data


def discarded_folders(paths: Iterable[bytes]) -> list[str]:
    """The folders among those of machines, not of environments, in which some of the paths lie."""
    tops = {path.partition(b"/")[0] for path in paths}
    return sorted(f"/{os.fsdecode(top)}" for top in tops & {b"workspace", b"tmp", b"run", b"dev", b"proc", b"sys"})
