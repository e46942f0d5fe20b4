"""Archives, unpacked into a folder of ours as if their makers were hostile."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.guest_protocol.tree_stream import is_path
from pyro_mcp.trees.safe_writer import SafeWriter

ARCHIVES = (".tar", ".tar.gz", ".tgz")
MOST_BYTES = 16 * 1024**3
"""What an archive may hold, unpacked."""
MOST_MEMBERS = 1_000_000
_DEEPEST = 256
_LONGEST_PATH = 3800  # less than PATH_MAX, which counts the folder that it is unpacked in
_PIECE = 1024 * 1024
# What gzip and tarfile raise when they meet nonsense.
_DAMAGED = (
    tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip
# What tarfile may read to find one member: headers, long names, tables of holes.
_MOST_HEADERS = 4 * 1024 * 1024


@dataclass(frozen=True)
class UnpackedArchive:
    """What an archive held; `skipped` are its devices and pipes."""

    entry_count: int
    size_bytes: int
    skipped: list[str]


def unpack(source: Path, target: Path) -> UnpackedArchive:
    """Unpack a .tar, .tar.gz or .tgz into the empty folder `target`; of a name that comes twice the last one stays.

    Links are made as they are and never followed. Raises `InvalidRequest` for a member that would lie or lead outside,
    a name that cannot be made, too much content, and for an archive that is damaged or cut short; `NoSpace`.
    """
    name = source.name.lower()
    try:
        with open(source, "rb") as raw, SafeWriter(target) as landing:
            unpacker = _Unpacker(source, landing)
            if name.endswith(".tar"):
                unpacker.run(raw)
            else:
                with gzip.open(raw, "rb") as plain:
                    unpacker.run(plain)
            landing.finish()
    except _DAMAGED as error:
        raise InvalidRequest(f"{source} is damaged, cut short, or no archive of its kind: {error}") from error
    except OSError as error:
        raise InvalidRequest(f"{source} cannot be read: {error.strerror}") from error
    size_bytes = sum(size or 0 for size in unpacker.sizes.values())
    return UnpackedArchive(len(unpacker.sizes), size_bytes, unpacker.skipped)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _LimitedStream:
    """A stream from which only so much can be read before the allowance is renewed."""

    def __init__(self, stream: _Readable, source: Path) -> None:
        self._stream = stream
        self._source = source
        self.allowance = _MOST_HEADERS

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise InvalidRequest(f"{self._source} has headers of more than {_MOST_HEADERS} bytes")
        return data


class _Unpacker:
    def __init__(self, source: Path, landing: SafeWriter) -> None:
        self.skipped: list[str] = []
        self.sizes: dict[bytes, int | None] = {}
        """Of what has been made; None for a folder."""
        self._source = source
        self._landing = landing
        self._bytes = 0
        self._members = 0

    def run(self, stream: _Readable) -> None:
        meter = _LimitedStream(stream, self._source)
        with tarfile.open(
            fileobj=cast(IO[bytes], meter), mode="r|", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (member := archive.next()) is not None:
                vars(archive)["members"] = []  # it would keep them all
                self._members += 1
                if self._members > MOST_MEMBERS:
                    raise InvalidRequest(f"{self._source} has more than {MOST_MEMBERS} members")
                if path := self._path(member.name):
                    self._member(archive, member, path, meter)
                meter.allowance = _MOST_HEADERS
        # To its very end, where gzip has its checksum.
        while data := stream.read(_PIECE):
            self._count(data)

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes, meter: _LimitedStream) -> None:
        if member.isdir():
            if self.sizes.get(path) is not None:
                self._landing.remove(path)
            self._landing.folder(path, member.mode)
            self.sizes[path] = None
            return
        if not (member.isreg() or member.issym() or member.islnk()):
            self.skipped.append(member.name)
            return
        to = self._former(member) if member.islnk() else b""
        if to == path:
            return
        if path in self.sizes:
            self._landing.remove(path)
        self.sizes[path] = 0
        if member.isreg():
            self.sizes[path] = self._file(archive, member, path, meter)
        elif to:
            self._landing.hard_link(path, to)
        else:
            self._landing.link(path, self._target(member))

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: bytes, meter: _LimitedStream) -> int:
        content = archive.extractfile(member)
        assert content is not None  # it is a regular file
        size = 0
        file = self._landing.file(path, member.mode, int(member.mtime * 1_000_000_000))
        try:
            while size < member.size:
                meter.allowance = _PIECE + _MOST_HEADERS
                if not (data := content.read(min(_PIECE, member.size - size))):
                    raise EOFError(f"{member.name} is not whole")
                self._count(data)
                file.write(data)
                size += len(data)
        finally:
            file.close()
        return size

    def _target(self, member: tarfile.TarInfo) -> bytes:
        target = os.fsencode(member.linkname)
        if not target or b"\0" in target:
            raise InvalidRequest(f"{self._source} holds {member.name!r}, a link to nothing that could be a path")
        return target

    def _former(self, member: tarfile.TarInfo) -> bytes:
        """The member that a hard link is another name of."""
        path = self._path(member.linkname)
        if self.sizes.get(path) is None:
            raise InvalidRequest(
                f"{self._source} holds {member.name!r}, a hard link to {member.linkname!r}, which is no file before it"
            )
        return path

    def _path(self, name: str) -> bytes:
        """The path of a member below the target, "" for the target itself."""
        given = os.fsencode(name)
        names = [one for one in given.split(b"/") if one not in (b"", b".")]
        path = b"/".join(names)
        if given.startswith(b"/") or b".." in names:
            raise InvalidRequest(
                f"{self._source} holds {name[:200]!r}, which would lie outside of the folder",
                hint="pack the folder's content with paths relative to it: tar -C FOLDER -cf ARCHIVE .",
            )
        if not is_path(path) or len(names) > _DEEPEST or len(path) > _LONGEST_PATH:
            raise InvalidRequest(
                f"{self._source} holds a path that cannot be: {name[:60]!r}…",
                hint=f"a name holds at most 255 bytes and no NUL, a path {_LONGEST_PATH} bytes and {_DEEPEST} folders",
            )
        return path

    def _count(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MOST_BYTES:
            raise InvalidRequest(f"{self._source} holds more than {MOST_BYTES // 1024**3} GiB")
