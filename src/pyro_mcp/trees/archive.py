"""Unpack tar archives, whose content is treated as hostile, into a folder of the host."""

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
MAX_BYTES = 16 * 1024**3
"""Size of the unpacked content of an archive."""
MAX_ENTRIES = 1_000_000
_MAX_DEPTH = 256
_MAX_PATH = 3800  # less than PATH_MAX, which includes the path of the target folder
_PIECE = 1024 * 1024
# What gzip and tarfile raise for malformed archives.
_DAMAGED = (
    tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, ArithmeticError, LookupError, RecursionError,
)  # fmt: skip
# Bytes that tarfile may read to find one entry: headers, long names, tables of holes.
_MAX_HEADERS = 4 * 1024 * 1024


@dataclass(frozen=True)
class UnpackedArchive:
    """The counts of an unpacked archive; `skipped` are its devices and pipes."""

    entry_count: int
    size_bytes: int
    skipped: list[str]


def unpack(source: Path, target: Path) -> UnpackedArchive:
    """Unpack a .tar, .tar.gz or .tgz into the empty folder `target`; the last of several entries of one name remains.

    Symbolic links are created as they are and never followed. Raises `InvalidRequest` for an entry outside the folder,
    a name that cannot be created, too much content, and a damaged or truncated archive; `NoSpace`.
    """
    name = source.name.lower()
    try:
        with open(source, "rb") as raw, SafeWriter(target) as writer:
            unpacker = _Unpacker(source, writer)
            if name.endswith(".tar"):
                unpacker.run(raw)
            else:
                with gzip.open(raw, "rb") as plain:
                    unpacker.run(plain)
            writer.finish()
    except _DAMAGED as error:
        raise InvalidRequest(f"{source} is damaged, truncated, or not an archive of this type: {error}") from error
    except OSError as error:
        raise InvalidRequest(f"cannot read {source}: {error.strerror}") from error
    size_bytes = sum(size or 0 for size in unpacker.sizes.values())
    return UnpackedArchive(len(unpacker.sizes), size_bytes, unpacker.skipped)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _LimitedStream:
    """A stream that raises when more than `allowance` bytes are read before it is renewed."""

    def __init__(self, stream: _Readable, source: Path) -> None:
        self._stream = stream
        self._source = source
        self.allowance = _MAX_HEADERS

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.allowance -= len(data)
        if self.allowance < 0:
            raise InvalidRequest(f"{self._source} has headers of more than {_MAX_HEADERS} bytes")
        return data


class _Unpacker:
    def __init__(self, source: Path, writer: SafeWriter) -> None:
        self.skipped: list[str] = []
        self.sizes: dict[bytes, int | None] = {}
        """Sizes by path of the entries created so far; None for a folder."""
        self._source = source
        self._writer = writer
        self._bytes = 0
        self._entries = 0

    def run(self, stream: _Readable) -> None:
        meter = _LimitedStream(stream, self._source)
        with tarfile.open(
            fileobj=cast(IO[bytes], meter), mode="r|", encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (entry := archive.next()) is not None:
                vars(archive)["members"] = []  # it would keep all entries in memory
                self._entries += 1
                if self._entries > MAX_ENTRIES:
                    raise InvalidRequest(f"{self._source} has more than {MAX_ENTRIES} entries")
                if path := self._path(entry.name):
                    self._entry(archive, entry, path, meter)
                meter.allowance = _MAX_HEADERS
        # Read to the end, where gzip has its checksum.
        while data := stream.read(_PIECE):
            self._count(data)

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: bytes, meter: _LimitedStream) -> None:
        if entry.isdir():
            if self.sizes.get(path) is not None:
                self._writer.remove(path)
            self._writer.make_folder(path, entry.mode)
            self.sizes[path] = None
            return
        if not (entry.isreg() or entry.issym() or entry.islnk()):
            self.skipped.append(entry.name)
            return
        link_target = self._hard_link_target(entry) if entry.islnk() else b""
        if link_target == path:
            return
        if path in self.sizes:
            self._writer.remove(path)
        self.sizes[path] = 0
        if entry.isreg():
            self.sizes[path] = self._file(archive, entry, path, meter)
        elif link_target:
            self._writer.make_hard_link(path, link_target)
        else:
            self._writer.make_symlink(path, self._symlink_target(entry))

    def _file(self, archive: tarfile.TarFile, entry: tarfile.TarInfo, path: bytes, meter: _LimitedStream) -> int:
        content = archive.extractfile(entry)
        assert content is not None  # it is a regular file
        size = 0
        file = self._writer.create_file(path, entry.mode, int(entry.mtime * 1_000_000_000))
        try:
            while size < entry.size:
                meter.allowance = _PIECE + _MAX_HEADERS
                if not (data := content.read(min(_PIECE, entry.size - size))):
                    raise EOFError(f"{entry.name} is truncated")
                self._count(data)
                file.write(data)
                size += len(data)
        finally:
            file.close()
        return size

    def _symlink_target(self, entry: tarfile.TarInfo) -> bytes:
        target = os.fsencode(entry.linkname)
        if not target or b"\0" in target:
            raise InvalidRequest(f"{self._source} holds {entry.name!r}, a link whose target is not a path")
        return target

    def _hard_link_target(self, entry: tarfile.TarInfo) -> bytes:
        """Return the path of the entry that a hard link refers to."""
        path = self._path(entry.linkname)
        if self.sizes.get(path) is None:
            raise InvalidRequest(
                f"{self._source} holds {entry.name!r}, a hard link to {entry.linkname!r}, which is not an earlier file"
            )
        return path

    def _path(self, name: str) -> bytes:
        """Return the path of an entry below the target folder, "" for the folder itself; raises `InvalidRequest`."""
        given = os.fsencode(name)
        names = [one for one in given.split(b"/") if one not in (b"", b".")]
        path = b"/".join(names)
        if given.startswith(b"/") or b".." in names:
            raise InvalidRequest(
                f"{self._source} holds {name[:200]!r}, which is outside the folder",
                hint="pack the folder with relative paths: tar -C FOLDER -cf ARCHIVE .",
            )
        if not is_path(path) or len(names) > _MAX_DEPTH or len(path) > _MAX_PATH:
            raise InvalidRequest(
                f"{self._source} holds an invalid path: {name[:60]!r}…",
                hint=f"limits: 255 bytes and no NUL in a name, {_MAX_PATH} bytes and {_MAX_DEPTH} names in a path",
            )
        return path

    def _count(self, data: bytes) -> None:
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise InvalidRequest(f"{self._source} holds more than {MAX_BYTES // 1024**3} GiB")
