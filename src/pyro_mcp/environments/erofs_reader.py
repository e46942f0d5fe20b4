"""Read the files of an uncompressed EROFS image, with owners, modes and capabilities, as any user of the host.

The format: https://erofs.docs.kernel.org/en/latest/core_ondisk.html, and fs/erofs/erofs_fs.h of Linux. `mkfs.erofs`
wrote the image from a tree that may be hostile, so names and contents are data here; a damaged image is an error.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pyro_mcp.environments.layer import LayerEntry
from pyro_mcp.errors import EnvironmentFailed

_SUPERBLOCK, _MAGIC, _SLOT = 1024, 0xE0F5E1E2, 32
_HEAD = struct.Struct("<IIIBBHQQIIII")
_COMPACT = struct.Struct("<HHHHIIIIHHI")
_EXTENDED = struct.Struct("<HHHHQIIIIQII")
_EXTENDED_SIZE = 64
_ENTRY = struct.Struct("<QHBB")
_ATTRIBUTE = struct.Struct("<BBH")
_PLAIN, _INLINE = 0, 2
_SECURITY_PREFIX, _CAPABILITY = 6, b"capability"
_KINDS = {
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s", stat.S_IFCHR: "c", stat.S_IFBLK: "b",
}  # fmt: skip
_PIECE = 1 << 20
_LONGEST_LINK = 4096
_LARGEST_FOLDER = 1 << 30
_MOST_LEVELS = 1000
_BILLION = 10**9


@dataclass(frozen=True)
class _Inode:
    """A file: where its content lies, and what `LayerEntry` says of it."""

    number: int
    mode: int
    size: int
    uid: int
    gid: int
    mtime_ns: int
    links: int
    layout: int
    block: int
    attributes_at: int
    attributes_size: int

    @property
    def kind(self) -> str:
        return _KINDS.get(stat.S_IFMT(self.mode), "?")


class ErofsReader:
    """The files in the image `file`; methods raise `EnvironmentFailed` for what is not such an image."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        words = _HEAD.unpack(self._at(_SUPERBLOCK, _HEAD.size))
        magic, _, _, block_bits, _, self._root, _, seconds, nanoseconds, _, meta, attributes = words
        if magic != _MAGIC or not 9 <= block_bits <= 16:
            raise EnvironmentFailed("the image is not EROFS", hint="prune it and pull the environment again")
        self._block = 1 << block_bits
        self._made_ns = seconds * _BILLION + nanoseconds
        self._inodes_at = meta * self._block
        self._shared_at = attributes * self._block

    def entries(self) -> Iterator[tuple[LayerEntry, Iterator[bytes]]]:
        """Yield every file below the root, a folder before its content, each with the pieces of the file's content.

        Read the pieces of a file before the next entry.
        """
        waiting = [(b"", self._root, 0)]
        while waiting:
            path, number, level = waiting.pop()
            inode = self._inode(number)
            target = self._read_all(inode, _LONGEST_LINK) if inode.kind == "l" else b""
            entry = LayerEntry(
                path, inode.kind, stat.S_IMODE(inode.mode), inode.size if inode.kind in "fl" else 0, inode.mtime_ns,
                uid=inode.uid, gid=inode.gid, target=target, capability=self._capability(inode),
                links=inode.links, inode=number,
            )  # fmt: skip
            yield entry, self._content(inode) if inode.kind == "f" else iter(())
            if inode.kind == "d":
                if level >= _MOST_LEVELS:
                    raise _damaged("its folders are nested too deeply")
                prefix = path + b"/" if path else b""
                below = [(prefix + name, child, level + 1) for name, child in self._folder(inode)]
                waiting += reversed(below)

    def _at(self, position: int, size: int) -> bytes:
        self._file.seek(position)
        data = self._file.read(size)
        if len(data) != size:
            raise _damaged("it is shorter than it says")
        return data

    def _inode(self, number: int) -> _Inode:
        at = self._inodes_at + number * _SLOT
        form, count, mode, *_ = _COMPACT.unpack(self._at(at, _COMPACT.size))
        layout, header = form >> 1 & 7, _COMPACT.size
        if form & 1:
            words = _EXTENDED.unpack(self._at(at, _EXTENDED.size))
            _, _, _, _, size, block, _, uid, gid, seconds, nanoseconds, links = words
            header, mtime_ns = _EXTENDED_SIZE, seconds * _BILLION + nanoseconds
        else:
            _, _, _, links, size, _, block, _, uid, gid, _ = _COMPACT.unpack(self._at(at, _COMPACT.size))
            mtime_ns = self._made_ns
        attributes = 12 + (count - 1) * 4 if count else 0
        return _Inode(number, mode, size, uid, gid, mtime_ns, links, layout, block, at + header, attributes)

    def _content(self, inode: _Inode) -> Iterator[bytes]:
        """Yield the content: whole blocks, and with the layout "inline" the rest behind the inode."""
        if inode.layout not in (_PLAIN, _INLINE):
            raise _damaged(f"it has a layout of files that pyro does not write: {inode.layout}")
        whole = inode.size if inode.layout == _PLAIN else inode.size - inode.size % self._block
        start = inode.block * self._block
        for done in range(0, whole, _PIECE):
            yield self._at(start + done, min(_PIECE, whole - done))
        if whole < inode.size:
            yield self._at(inode.attributes_at + inode.attributes_size, inode.size - whole)

    def _read_all(self, inode: _Inode, most: int) -> bytes:
        if inode.size > most:
            raise _damaged("a link or a folder in it is too long")
        return b"".join(self._content(inode))

    def _folder(self, inode: _Inode) -> list[tuple[bytes, int]]:
        """Return the names in a folder, in order, with the numbers of their inodes."""
        data = self._read_all(inode, _LARGEST_FOLDER)
        found = []
        for start in range(0, len(data), self._block):
            block = data[start : start + self._block]
            count = _ENTRY.unpack_from(block)[1] // _ENTRY.size if len(block) >= _ENTRY.size else 0
            if not 0 < count * _ENTRY.size <= len(block):
                raise _damaged("a folder in it is broken")
            rows = [_ENTRY.unpack_from(block, index * _ENTRY.size) for index in range(count)]
            ends = [row[1] for row in rows[1:]] + [len(block)]
            for (number, begin, _, _), end in zip(rows, ends, strict=True):
                name = block[begin:end].partition(b"\0")[0]
                if not name or b"/" in name:
                    raise _damaged("a name in it is broken")
                if name not in (b".", b".."):
                    found.append((name, number))
        return found

    def _capability(self, inode: _Inode) -> bytes:
        """Return the value of `security.capability`, or nothing."""
        if not inode.attributes_size:
            return b""
        data = self._at(inode.attributes_at, inode.attributes_size)
        shared = data[4]
        places = struct.unpack_from(f"<{shared}I", data, 12) if 12 + 4 * shared <= len(data) else ()
        for place in places:
            name_size, _, size = _ATTRIBUTE.unpack(self._at(self._shared_at + 4 * place, _ATTRIBUTE.size))
            entry = self._at(self._shared_at + 4 * place, _ATTRIBUTE.size + name_size + size)
            if value := self._if_capability(entry, 0)[0]:
                return value
        at = 12 + 4 * shared
        while at + _ATTRIBUTE.size <= len(data):
            value, at = self._if_capability(data, at)
            if value:
                return value
        return b""

    @staticmethod
    def _if_capability(data: bytes, at: int) -> tuple[bytes, int]:
        """Return the value of the attribute `at` a place if it has capabilities, else nothing; and the next place."""
        name_size, prefix, size = _ATTRIBUTE.unpack_from(data, at)
        name_at = at + _ATTRIBUTE.size
        value_at = name_at + name_size
        is_wanted = prefix == _SECURITY_PREFIX and data[name_at:value_at] == _CAPABILITY
        end = value_at + size
        return data[value_at:end] if is_wanted else b"", end + -end % 4


def _damaged(why: str) -> EnvironmentFailed:
    return EnvironmentFailed(f"the image is damaged: {why}", hint="prune it and pull the environment again")
