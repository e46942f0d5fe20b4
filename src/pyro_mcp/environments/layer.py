"""A whole root file system that arrives entry by entry from a guest, as an OCI image of one layer.

The guest is hostile, so nothing of it is unpacked here: the entries become a tar file of our own making, which
`oci.unpack` treats like a layer from any registry.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyro_mcp.errors import EnvironmentFailed, ProtocolViolation

MOST_BYTES = 32 * 1024**3
"""Bytes that the files of one environment may have together."""
MOST_ENTRIES = 2_000_000
_TYPES = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "p": tarfile.FIFOTYPE}
_WHITEOUT = b".wh."
_BILLION = 10**9
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class LayerEntry:
    """One entry of a root file system. `capability` is the value of `security.capability`, or empty."""

    path: bytes
    kind: str
    mode: int
    size: int
    mtime_ns: int
    uid: int = 0
    gid: int = 0
    target: bytes = b""
    capability: bytes = b""
    links: int = 1
    inode: int = 0


class LayerWriter:
    """Writes members as a tar file. Devices, sockets and the names of whiteouts are left out and counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._first: dict[tuple[int, ...], bytes] = {}
        self._left = 0
        self._skip = False
        self.left_out: list[str] = []
        self.size_bytes = 0
        self.entry_count = 0

    def begin(self, member: LayerEntry) -> None:
        """Start an entry; a file is followed by `data` and `end`. Raises `EnvironmentFailed` for a system too large."""
        self.size_bytes += member.size if member.kind == "f" else 0
        self.entry_count += 1
        if self.size_bytes > MOST_BYTES or self.entry_count > MOST_ENTRIES:
            raise EnvironmentFailed(
                f"the system is larger than an environment may be ({MOST_BYTES >> 30} GiB, {MOST_ENTRIES} files)",
                hint=f"the last file was /{member.path.decode(errors='replace')}, of {member.size} bytes",
            )
        name = member.path.rpartition(b"/")[2]
        self._left, self._skip = (member.size, False) if member.kind == "f" else (0, True)
        if member.kind not in _TYPES or name.startswith(_WHITEOUT):
            self.left_out.append(member.path.decode(errors="replace"))
            self._skip = True
            return
        header = _header(member)
        if member.kind == "f" and member.links > 1:
            key = (member.inode, member.size, member.mtime_ns, member.mode, member.uid, member.gid)
            first = self._first.setdefault(key, member.path)
            if first != member.path:
                header.type, header.linkname, header.size = tarfile.LNKTYPE, _text(first), 0
                self._skip = True
        self._write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def data(self, piece: bytes) -> None:
        """Add to the content of the file that was begun last."""
        self._left -= len(piece)
        if self._left < 0:
            raise ProtocolViolation("the guest sent more of a file than it announced")
        if not self._skip:
            self._write(piece)

    def end(self, size: int) -> None:
        """End the file that was begun last, of `size` bytes."""
        if self._left:
            raise EnvironmentFailed("a file became shorter while the system was saved", hint="try again")
        if not self._skip:
            self._write(bytes(-size % tarfile.BLOCKSIZE))

    def finish(self) -> str:
        """End the tar file; return its digest as "sha256:HEX"."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))
        self._file.flush()
        return f"sha256:{self._digest.hexdigest()}"

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


def write_layout(layout: Path, layer: Path, digest: str) -> None:
    """Make `layout` an OCI image layout around one uncompressed layer, which is moved into it."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    size = layer.stat().st_size
    layer.rename(blobs / digest.removeprefix("sha256:"))
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", config),
        "layers": [{"mediaType": _LAYER, "digest": digest, "size": size}],
    }
    described = _blob(blobs, "application/vnd.oci.image.manifest.v1+json", manifest)
    index = {
        "schemaVersion": 2,
        "manifests": [{**described, "annotations": {"org.opencontainers.image.ref.name": "image"}}],
    }
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_text(json.dumps(index))


def _blob(folder: Path, media_type: str, content: object) -> dict[str, object]:
    raw = json.dumps(content).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (folder / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def _header(member: LayerEntry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(_text(member.path) or ".")
    header.type, header.mode = _TYPES[member.kind], member.mode
    header.uid, header.gid = member.uid, member.gid
    header.size = member.size if member.kind == "f" else 0
    header.linkname = _text(member.target)
    sign, moment = ("-", -member.mtime_ns) if member.mtime_ns < 0 else ("", member.mtime_ns)
    extended = {"mtime": f"{sign}{moment // _BILLION}.{moment % _BILLION:09}"}
    if member.capability:
        extended["SCHILY.xattr.security.capability"] = _text(member.capability)
    header.pax_headers = extended
    return header


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
