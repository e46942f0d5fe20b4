"""Write a root filesystem that a guest sends, entry by entry, as an OCI image with one layer.

The guest is hostile. Nothing is unpacked here: the entries become tar entries of a layer, which `oci.unpack` treats
like a layer from any registry.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyro_mcp.errors import EnvironmentFailed, ProtocolViolation

MAX_BYTES = 32 * 1024**3
"""Total size of the files of one environment."""
MAX_ENTRIES = 2_000_000
_TYPES = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "p": tarfile.FIFOTYPE}
_WHITEOUT = b".wh."
_BILLION = 10**9
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class LayerEntry:
    """One entry of a root filesystem. `capability` is the value of `security.capability`, or empty."""

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
    """Writes entries as a tar file, except devices, sockets and whiteouts: `left_out` lists their paths."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._first_links: dict[tuple[int, ...], bytes] = {}
        self._remaining = 0
        self._skip = False
        self.left_out: list[str] = []
        self.size_bytes = 0
        self.entry_count = 0

    def begin(self, entry: LayerEntry) -> None:
        """Start an entry. For a file, call `data` and `end` next. Raises `EnvironmentFailed` above the size limits."""
        self.size_bytes += entry.size if entry.kind == "f" else 0
        self.entry_count += 1
        if self.size_bytes > MAX_BYTES or self.entry_count > MAX_ENTRIES:
            raise EnvironmentFailed(
                f"the root filesystem is larger than the limit of {MAX_BYTES >> 30} GiB and {MAX_ENTRIES} entries",
                hint=f"the last entry was /{entry.path.decode(errors='replace')}, of {entry.size} bytes",
            )
        name = entry.path.rpartition(b"/")[2]
        self._remaining, self._skip = (entry.size, False) if entry.kind == "f" else (0, True)
        if entry.kind not in _TYPES or name.startswith(_WHITEOUT):
            self.left_out.append(entry.path.decode(errors="replace"))
            self._skip = True
            return
        header = _header(entry)
        if entry.kind == "f" and entry.links > 1:
            key = (entry.inode, entry.size, entry.mtime_ns, entry.mode, entry.uid, entry.gid)
            first = self._first_links.setdefault(key, entry.path)
            if first != entry.path:
                header.type, header.linkname, header.size = tarfile.LNKTYPE, _text(first), 0
                self._skip = True
        self._write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def data(self, piece: bytes) -> None:
        """Add to the content of the current file."""
        self._remaining -= len(piece)
        if self._remaining < 0:
            raise ProtocolViolation("the guest sent more data of a file than it announced")
        if not self._skip:
            self._write(piece)

    def end(self, size: int) -> None:
        """End the current file, of `size` bytes."""
        if self._remaining:
            raise EnvironmentFailed("a file became shorter while the environment was saved", hint="try again")
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


def write_image_layout(layout: Path, layer: Path, digest: str) -> None:
    """Write the OCI image layout of an image with one uncompressed layer; the layer file is moved into it."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    size = layer.stat().st_size
    layer.rename(blobs / digest.removeprefix("sha256:"))
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _blob(blobs, "application/vnd.oci.image.config.v1+json", config),
        "layers": [{"mediaType": _LAYER_TYPE, "digest": digest, "size": size}],
    }
    descriptor = _blob(blobs, "application/vnd.oci.image.manifest.v1+json", manifest)
    index = {
        "schemaVersion": 2,
        "manifests": [{**descriptor, "annotations": {"org.opencontainers.image.ref.name": "image"}}],
    }
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_text(json.dumps(index))


def _blob(folder: Path, media_type: str, content: object) -> dict[str, object]:
    """Write a blob of JSON; return its descriptor."""
    raw = json.dumps(content).encode()
    digest = hashlib.sha256(raw).hexdigest()
    (folder / digest).write_bytes(raw)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(raw)}


def _header(entry: LayerEntry) -> tarfile.TarInfo:
    header = tarfile.TarInfo(_text(entry.path) or ".")
    header.type, header.mode = _TYPES[entry.kind], entry.mode
    header.uid, header.gid = entry.uid, entry.gid
    header.size = entry.size if entry.kind == "f" else 0
    header.linkname = _text(entry.target)
    sign, mtime_ns = ("-", -entry.mtime_ns) if entry.mtime_ns < 0 else ("", entry.mtime_ns)
    extended = {"mtime": f"{sign}{mtime_ns // _BILLION}.{mtime_ns % _BILLION:09}"}
    if entry.capability:
        extended["SCHILY.xattr.security.capability"] = _text(entry.capability)
    header.pax_headers = extended
    return header


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
