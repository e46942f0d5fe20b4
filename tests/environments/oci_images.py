"""Small images made by hand, also ones that no honest tool would make."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Entry:
    """One member of a layer; `kind` is a tarfile type."""

    path: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644
    owner: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


def sparse(path: str, size: int) -> Entry:
    """A file of that many zeros, of which the layer holds none: GNU's sparse format 1.0."""
    facts = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(size),
        "GNU.sparse.name": path,
    }
    return Entry(path, (b"1\n%d\n0\n" % size).ljust(512, b"\0"), headers=facts)


def folder(path: str, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(path, kind=tarfile.DIRTYPE, mode=mode, owner=owner)


def link(path: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Entry:
    return Entry(path, kind=kind, target=target)


HELLO = [folder("bin"), Entry("bin/hello", b"hello\n", mode=0o755), folder("etc"), Entry("etc/shadow", owner=42)]


@dataclass(frozen=True)
class Registry:
    """A running registry, and where it keeps its files."""

    address: str
    storage: Path

    def push(
        self,
        name: str,
        *layers: Sequence[Entry],
        environ: Sequence[object] = (),
        architecture: str = "amd64",
        credentials: str = "",
    ) -> str:
        """Push an image as NAME:TAG; returns the digest of its manifest."""
        layout = self.storage.parent / f"layout-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        digest = write_layout(layout, [pack(layer) for layer in layers], environ, architecture)
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false",
             *([f"--dest-creds={credentials}"] if credentials else []),
             f"oci:{layout}:image", f"docker://{self.address}/{name}"],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
        return digest

    def push_index(self, repository: str, tag: str, digests: dict[str, str]) -> str:
        """Push an index of manifests that are there already, by architecture; returns its digest."""
        manifests = []
        for architecture, digest in digests.items():
            platform = {"os": "linux", "architecture": architecture}
            size = self.blob(digest).stat().st_size
            manifests.append({"mediaType": _MANIFEST, "digest": digest, "size": size, "platform": platform})
        body = json.dumps({"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}).encode()
        url = f"http://{self.address}/v2/{repository}/manifests/{tag}"
        request = urllib.request.Request(url, body, {"Content-Type": _INDEX}, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def blob(self, digest: str) -> Path:
        """The file in which the registry keeps a blob or manifest."""
        value = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"

    def layers(self, manifest_digest: str) -> list[Path]:
        manifest = json.loads(self.blob(manifest_digest).read_bytes())
        return [self.blob(layer["digest"]) for layer in manifest["layers"]]


def pack(entries: Sequence[Entry]) -> bytes:
    """A layer: an uncompressed tar with exactly these members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type, info.linkname, info.mode = entry.kind, entry.target, entry.mode
            info.uid = info.gid = entry.owner
            info.size = len(entry.content)
            info.mtime = 1_700_000_000
            info.pax_headers = dict(entry.headers)
            tar.addfile(info, io.BytesIO(entry.content))
    return buffer.getvalue()


def write_layout(layout: Path, layers: Sequence[bytes], environ: Sequence[object], architecture: str) -> str:
    """Write an OCI layout whose one image is called "image"; returns the digest of its manifest."""
    config: dict[str, Any] = {
        "os": "linux",
        "architecture": architecture,
        "config": {"Env": list(environ)},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _blob(layout, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [
            _blob(layout, gzip.compress(layer, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
            for layer in layers
        ],
    }
    described = _blob(layout, json.dumps(manifest).encode(), _MANIFEST)
    described["annotations"] = {"org.opencontainers.image.ref.name": "image"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(described["digest"])


def _blob(layout: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = _digest(content)
    path = layout / "blobs" / digest.replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
