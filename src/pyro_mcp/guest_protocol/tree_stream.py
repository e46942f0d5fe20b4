"""Parse the guest tool's output; no input or output here. See `guest/TREE.md`; `tree_edits` encodes the tool's input.

Everything from the guest is treated as hostile: malformed data raises
`ProtocolViolation`, and no more than one frame is ever held in memory. Paths are bytes, relative to the tree's root,
which is the empty path.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol

from pyro_mcp.errors import InvalidRequest, ProtocolViolation
from pyro_mcp.guest_protocol.frames import Decoder, Frame

Kind = Literal["f", "d", "l", "p", "s", "c", "b"]
"""File, directory, link, pipe, socket, character device, block device."""
MOST_NAMED = 512 * 1024 * 1024
"""The most bytes that the names of one answer may take in memory: about two million entries."""
_KINDS: Mapping[int, Kind] = {ord("f"): "f", ord("d"): "d", ord("l"): "l", ord("p"): "p", ord("s"): "s", ord("c"): "c",
                              ord("b"): "b"}  # fmt: skip
_LONGEST_PATH = 64 * 1024
_LONGEST_NAME = 255
_DEEPEST = 1000
_NO_OWNER = 2**32 - 1
_ENTRY_OVERHEAD = 200
_NUMBER = struct.Struct("<Q")


class Type(IntEnum):
    ENTRY = 1
    DATA = 2
    FILE_END = 3
    END = 4
    CHANGE = 5
    EDIT = 6
    COMMIT = 7
    CHANGED = 8
    FROZEN = 9
    HOLE = 10
    UNLISTED = 11


class Tag(IntEnum):
    PATH = 1
    KIND = 2
    MODE = 3
    SIZE = 4
    MTIME_NS = 5
    LINKS = 6
    TARGET = 7
    INODE = 8
    SENT = 9
    COUNT = 10
    OLD_KIND = 11
    OLD_MODE = 12
    OLD_SIZE = 13
    OLD_INODE = 14
    NEW_KIND = 15
    NEW_MODE = 16
    NEW_SIZE = 17
    ORIGIN = 18
    CONTENT_DIFFERS = 19
    ACTION = 20
    REPLACED = 21
    UID = 22
    GID = 23
    CAPABILITY = 24


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One name of a tree. `mode` is the lower 12 bits, `mtime_ns` may be negative, `target` is a link's or empty.

    The owner and the value of `security.capability` are known only of a walk that asked for them.
    """

    path: bytes
    kind: Kind
    mode: int
    size: int
    mtime_ns: int
    links: int
    inode: int
    target: bytes = b""
    uid: int = 0
    gid: int = 0
    capability: bytes = b""


@dataclass(frozen=True, slots=True)
class Side:
    """A changed path before or after the change. `inode` is that of the baseline; 0 for the new side."""

    kind: Kind
    mode: int
    size: int
    inode: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs from the baseline; at least one side is not None.

    `origin` is the inode in the baseline of the file whose unchanged content the new file has, 0 if not known.
    """

    path: bytes
    old: Side | None
    new: Side | None
    content_differs: bool = True
    origin: int = 0


@dataclass(frozen=True)
class Changed:
    """An edit that was made, and whether its path existed before."""

    path: bytes
    replaced: bool


class Receiver(Protocol):
    """Receives a walk as it arrives: entries and, for each file whose content was requested, data and its end."""

    def entry(self, entry: TreeEntry) -> None: ...
    def data(self, piece: bytes) -> None: ...
    def file_end(self) -> None: ...


def is_path(path: bytes) -> bool:
    """Return whether these bytes are a path at or below a tree's root, in the form of `guest/TREE.md`."""
    if not path:
        return True
    names = path.split(b"/")
    return (
        len(path) <= _LONGEST_PATH
        and len(names) <= _DEEPEST
        and b"\0" not in path
        and not any(name in (b"", b".", b"..") or len(name) > _LONGEST_NAME for name in names)
    )


class _Listing:
    """The base of all answers: counted frames, then END with their count, then nothing."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._count = 0
        self._bytes = 0
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Parse bytes in the order of arrival. Raises `ProtocolViolation`."""
        for frame in self._decoder.feed(data):
            if self._ended:
                raise ProtocolViolation("the guest's tool went on after its end")
            if frame.type == Type.END:
                if (count := _Fields(frame).number(Tag.COUNT)) != self._count:
                    raise ProtocolViolation(f"the guest's tool announced {count} entries after {self._count}")
                self._before_end()
                self._ended = True
            else:
                self._take(frame)

    def finish(self) -> None:
        """Raise `ProtocolViolation` unless the answer was complete."""
        if not self._ended:
            raise ProtocolViolation("the guest's tool ended in the middle of its answer")

    def _counted(self, frame: Frame) -> _Fields:
        self._count += 1
        return self._measured(frame)

    def _unlisted(self, frame: Frame) -> bytes:
        return self._measured(frame).path()

    def _measured(self, frame: Frame) -> _Fields:
        self._bytes += len(frame.payload) + _ENTRY_OVERHEAD
        if self._bytes > MOST_NAMED:
            raise ProtocolViolation(f"the guest's tool named more than fits into {MOST_NAMED} bytes")
        return _Fields(frame)

    def _before_end(self) -> None:
        pass

    def _take(self, frame: Frame) -> None:
        raise NotImplementedError


class Walk(_Listing):
    """The answer of `walk`, passed to a receiver; `content` is the value of `--content`, 0 without it.

    `on_hole` gets the size of each hole, if holes were requested; `on_unlisted` each folder whose content is not
    listed because it is too deep. Without `on_unlisted` such a folder raises `InvalidRequest`.
    """

    def __init__(
        self,
        receiver: Receiver,
        content: int,
        *,
        on_hole: Callable[[int], None] | None = None,
        on_unlisted: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__()
        self._receiver = receiver
        self._content = content
        self._on_hole = on_hole
        self._on_unlisted = on_unlisted
        self._file: TreeEntry | None = None
        self._sent = 0

    def _take(self, frame: Frame) -> None:
        if frame.type == Type.ENTRY and self._file is None:
            entry = _entry(self._counted(frame))
            if self._content and entry.kind == "f":
                self._file, self._sent = entry, 0
            self._receiver.entry(entry)
        elif frame.type == Type.DATA and self._file is not None and frame.payload:
            self._count_content(self._file, len(frame.payload))
            self._receiver.data(frame.payload)
        elif frame.type == Type.HOLE and self._file is not None and self._on_hole is not None:
            size = _Fields(frame).number(Tag.SIZE)
            self._count_content(self._file, size)
            self._on_hole(size)
        elif frame.type == Type.UNLISTED and self._file is None:
            path = self._unlisted(frame)
            if self._on_unlisted is None:
                raise InvalidRequest(f"{os.fsdecode(path[:200])}… holds folders that are nested too deep")
            self._on_unlisted(path)
        elif frame.type == Type.FILE_END and self._file is not None:
            if (sent := _Fields(frame).number(Tag.SENT)) != self._sent:
                raise ProtocolViolation(f"the guest's tool says it sent {sent} bytes of a file, {self._sent} came")
            self._file = None
            self._receiver.file_end()
        else:
            raise _unexpected(frame)

    def _count_content(self, file: TreeEntry, size: int) -> None:
        self._sent += size
        if self._sent > min(self._content, file.size):
            raise ProtocolViolation("the guest's tool sent more of a file than there is")

    def _before_end(self) -> None:
        if self._file is not None:
            raise ProtocolViolation("the guest's tool ended in the middle of a file")


class Changes(_Listing):
    """The answer of `changes`: each path once, in the order of a walk."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Change] = []
        self.unlisted: list[bytes] = []
        """Folders whose content is not in `found`, because it is too deep."""

    def _take(self, frame: Frame) -> None:
        if frame.type == Type.UNLISTED:
            self.unlisted.append(self._unlisted(frame))
            return
        if frame.type != Type.CHANGE:
            raise _unexpected(frame)
        change = _change(self._counted(frame))
        if self.found and sort_key(change.path) <= sort_key(self.found[-1].path):
            raise ProtocolViolation("the guest's tool listed changes out of order")
        self.found.append(change)


class Applied(_Listing):
    """The answer of `apply`: what was made, in the order of the edits."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Changed] = []

    def _take(self, frame: Frame) -> None:
        if frame.type != Type.CHANGED:
            raise _unexpected(frame)
        fields = self._counted(frame)
        self.made.append(Changed(fields.path(), fields.number(Tag.REPLACED, 0) == 1))


def sort_key(path: bytes) -> list[bytes]:
    """Return a key that sorts paths as a walk does: by their components' bytes, a folder before its content."""
    return path.split(b"/") if path else []


class _Fields:
    """The fields of one frame, each at most once."""

    def __init__(self, frame: Frame) -> None:
        found = frame.fields()
        self._values = dict(found)
        if len(self._values) != len(found):
            raise ProtocolViolation("the guest's tool sent a field twice")

    def __contains__(self, tag: Tag) -> bool:
        return tag in self._values

    def data(self, tag: Tag) -> bytes:
        try:
            return self._values[tag]
        except KeyError:
            raise ProtocolViolation(f"the guest's tool left out {tag.name}") from None

    def number(self, tag: Tag, default: int | None = None) -> int:
        if default is not None and tag not in self._values:
            return default
        data = self.data(tag)
        if len(data) != _NUMBER.size:
            raise ProtocolViolation(f"the guest's tool sent {tag.name} with {len(data)} bytes instead of 8")
        return int(_NUMBER.unpack(data)[0])

    def moment(self, tag: Tag) -> int:
        number = self.number(tag)
        return number - (1 << 64) if number >> 63 else number

    def path(self) -> bytes:
        path = self.data(Tag.PATH)
        if not is_path(path):
            raise ProtocolViolation(f"the guest's tool named the impossible path {path[:200]!r}")
        return path

    def kind(self, tag: Tag) -> Kind:
        number = self.number(tag)
        if number not in _KINDS:
            raise ProtocolViolation(f"the guest's tool named the unknown kind {number}")
        return _KINDS[number]

    def owner(self, tag: Tag) -> int:
        owner = self.number(tag, 0)
        if owner >= _NO_OWNER:
            raise ProtocolViolation(f"the guest's tool named the impossible owner {owner}")
        return owner

    def mode(self, tag: Tag) -> int:
        mode = self.number(tag)
        if mode > 0o7777:
            raise ProtocolViolation(f"the guest's tool named the impossible mode {mode:#o}")
        return mode


def _entry(fields: _Fields) -> TreeEntry:
    kind = fields.kind(Tag.KIND)
    target = fields.data(Tag.TARGET) if kind == "l" else b""
    if kind == "l" and (not target or b"\0" in target):
        raise ProtocolViolation("the guest's tool named an impossible link target")
    return TreeEntry(
        path=fields.path(),
        kind=kind,
        mode=fields.mode(Tag.MODE),
        size=fields.number(Tag.SIZE),
        mtime_ns=fields.moment(Tag.MTIME_NS),
        links=fields.number(Tag.LINKS),
        inode=fields.number(Tag.INODE),
        target=target,
        uid=fields.owner(Tag.UID),
        gid=fields.owner(Tag.GID),
        capability=fields.data(Tag.CAPABILITY) if Tag.CAPABILITY in fields else b"",
    )


def _change(fields: _Fields) -> Change:
    old = new = None
    if Tag.OLD_KIND in fields:
        kind, mode = fields.kind(Tag.OLD_KIND), fields.mode(Tag.OLD_MODE)
        old = Side(kind, mode, fields.number(Tag.OLD_SIZE), fields.number(Tag.OLD_INODE))
    if Tag.NEW_KIND in fields:
        new = Side(fields.kind(Tag.NEW_KIND), fields.mode(Tag.NEW_MODE), fields.number(Tag.NEW_SIZE))
    path = fields.path()
    if not path or (old is None and new is None):
        raise ProtocolViolation("the guest's tool named a change that is none")
    same_kind = old is not None and new is not None and old.kind == new.kind
    differs = fields.number(Tag.CONTENT_DIFFERS) != 0 if same_kind else True
    origin = fields.number(Tag.ORIGIN, 0) if new is not None and new.kind == "f" else 0
    return Change(path, old, new, differs, origin)


def _unexpected(frame: Frame) -> ProtocolViolation:
    return ProtocolViolation(f"the guest's tool sent a frame of type {frame.type} where none was due")
