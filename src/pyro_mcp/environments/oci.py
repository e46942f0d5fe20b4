"""Pull images from OCI registries: skopeo fetches and verifies, umoci unpacks. No program of an image runs."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyro_mcp.environments.names import ImageReference
from pyro_mcp.environments.source import RootFilesystem, SourceKind
from pyro_mcp.environments.user_namespace import run_as_root
from pyro_mcp.errors import EnvironmentFailed, HostCommandFailed
from pyro_mcp.host.files import no_space
from pyro_mcp.host.process import Completed, run
from pyro_mcp.host.programs import require_program
from pyro_mcp.host.progress import Progress

_DEADLINE_SECONDS = 1800
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAYOUT = "layout"
"""The folder below the work folder that holds the OCI image layout before it is unpacked."""
_IMAGE = f"{LAYOUT}:image"
_MAX_JSON = 8 << 20
MAX_FILE_BYTES = 16 << 30
"""The largest file that unpacking an image may write."""
_ASSIGNMENT = re.compile(r"[^=\0\ud800-\udfff]+=[^\0\ud800-\udfff]*")

# Patterns in the output of skopeo, which has no error codes; the message and the hint for each.
_ERRORS: tuple[tuple[str, str, str], ...] = (
    (
        r"no image found in (manifest list|image index) for",
        "{name} has no variant for linux/amd64",
        "choose an image that is built for this architecture",
    ),
    (
        r"digest did not match|does not match|digest mismatch|invalid checksum|unexpected (EOF|end of)|blob unknown",
        "{name} is damaged: what the registry sent does not match its digest",
        "try again; if the error persists, push the image again",
    ),
    (
        r"manifest unknown|manifest_unknown|name unknown|not found|\b404\b",
        "the registry {registry} does not have {what}",
        "check the name, the tag and the digest",
    ),
    (
        r"unauthorized|authentication required|denied|forbidden|\b40[13]\b",
        "the registry {registry} denies access to {name}",
        "log in with: skopeo login {registry}",
    ),
    (
        r"http response to https client",
        "the registry {registry} does not support https",
        "plain http is accepted only from localhost",
    ),
    (
        r"connection refused|no such host|timeout|unreachable|tls|x509|certificate|dial tcp|lookup|\bEOF\b",
        "the registry {registry} cannot be reached",
        "check the name, the network and the proxy settings",
    ),
)


class OciSource:
    """Pulls one image."""

    kind: SourceKind = "oci"
    packages: tuple[str, ...] = ()
    programs: Mapping[str, str] = MappingProxyType({})

    def __init__(self, name: str, reference: ImageReference) -> None:
        self.name = name
        self.version = reference.digest
        self.description = f"image {reference.tagged}"
        self._reference = reference

    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        progress(f"asking {self._reference.registry}", 0.0)
        digest = self._resolve()
        progress(f"fetching {self.name}", 0.1)
        self._fetch(digest, work)
        progress("unpacking", 0.6)
        config = self._config(work / LAYOUT)
        unpack(self.name, work)
        return RootFilesystem(work / "root", digest, _environ(config))

    def _resolve(self) -> str:
        """Return the digest of the manifest or image index that the name refers to now."""
        pinned = self._reference.digest
        reference = self._reference.at(pinned) if pinned else self._reference.tagged
        raw = self._skopeo(["inspect", *self._tls("--tls-verify=false"), "--raw", f"docker://{reference}"], 120).stdout
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if pinned and digest != pinned:
            raise EnvironmentFailed(
                f"{self.name} is damaged: the registry sent a manifest whose digest is {digest}",
                hint="ask the owner of the image before you use it",
            )
        return digest

    def _fetch(self, digest: str, work: Path) -> None:
        source = f"docker://{self._reference.at(digest)}"
        self._skopeo(
            ["--tmpdir", str(work), "copy", *self._tls("--src-tls-verify=false"), source, f"oci:{work}/{_IMAGE}"],
            _DEADLINE_SECONDS,
        )

    def _config(self, layout: Path) -> dict[str, Any]:
        """Return the image's configuration; raises `EnvironmentFailed` unless it is for linux/amd64."""
        try:
            index = json.loads((layout / "index.json").read_bytes())
            manifest = _blob(layout, index["manifests"][0]["digest"])
            config = _blob(layout, manifest["config"]["digest"])
            platform = f"{config['os']}/{config['architecture']}"
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise EnvironmentFailed(f"{self.name} is not a container image", hint="choose a container image") from error
        if platform != "linux/amd64":
            raise EnvironmentFailed(
                f"{self.name} is for {platform[:40]!r}, not for linux/amd64",
                hint="choose an image that is built for this architecture",
            )
        return dict(config)

    def _tls(self, option: str) -> list[str]:
        return [option] if self._reference.loopback else []

    def _skopeo(self, arguments: Sequence[str], deadline_seconds: float) -> Completed:
        argv = ["skopeo", *_policy_option(), "--override-os", "linux", "--override-arch", "amd64", *arguments]
        try:
            return run(argv, deadline_seconds=deadline_seconds)
        except HostCommandFailed as error:
            raise self._explained(error) from error

    def _explained(self, error: HostCommandFailed) -> EnvironmentFailed:
        reference = self._reference
        what = f"the digest {reference.digest}" if reference.digest else f"{reference.repository}:{reference.tag}"
        for pattern, message, hint in _ERRORS:
            if re.search(pattern, error.message, re.IGNORECASE):
                values = {"name": self.name, "registry": reference.registry, "what": what}
                return EnvironmentFailed(
                    f"{message.format(**values)} ({error.message})", hint=f"{hint.format(**values)}\n{error.hint}"
                )
        return EnvironmentFailed(f"cannot fetch {self.name}: {error.message}", hint=error.hint)


def unpack(name: str, work: Path) -> None:
    """Unpack the image in the layout below `work` into `work/root`; raises `EnvironmentFailed`, `NoSpace`."""
    try:
        # A layer of a kilobyte may hold a sparse file of any size, which is unpacked as zeros.
        command: list[str | Path] = ["prlimit", f"--fsize={MAX_FILE_BYTES}", require_program("umoci")]
        command += ["raw", "unpack", "--image", _IMAGE, "root"]
        run_as_root(command, writable=work, deadline_seconds=_DEADLINE_SECONDS)
    except HostCommandFailed as error:
        if not _fits(work / LAYOUT, work):
            raise no_space(OSError(errno.ENOSPC, ""), work) from error
        raise EnvironmentFailed(
            f"cannot unpack {name}: {error.message}",
            hint=f"one of its layers is damaged or malicious\n{error.hint}",
        ) from error


def _fits(layout: Path, disk: Path) -> bool:
    """Return whether the unpacked layers fit on `disk`. Asked after a failure: umoci may panic on a full disk."""
    free = shutil.disk_usage(disk).free
    for blob in (layout / "blobs/sha256").iterdir():
        with suppress(OSError, EOFError, zlib.error), gzip.open(blob) as layer:
            while free >= 0 and (chunk := layer.read(1 << 20)):
                free -= len(chunk)
            continue
        free -= blob.stat().st_size  # an uncompressed layer, a manifest or a configuration
    return free >= 0


def _blob(layout: Path, digest: str) -> Any:
    """Read a blob of JSON by its digest; raises `ValueError`."""
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(digest)
    path = layout / "blobs" / algorithm / value
    if path.stat().st_size > _MAX_JSON:
        raise ValueError(f"{digest} is too large")
    return json.loads(path.read_bytes())


def _environ(config: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables of an image's configuration, without malformed ones."""
    settings = config.get("config")
    lines = settings.get("Env") if isinstance(settings, dict) else None
    environ = {"HOME": "/root", "PATH": _DEFAULT_PATH}
    for line in lines if isinstance(lines, list) else []:
        if isinstance(line, str) and _ASSIGNMENT.fullmatch(line):
            name, _, value = line.partition("=")
            environ[name] = value
    return environ


def _policy_option() -> list[str]:
    """Return the option for a host without a signature policy, without which skopeo would refuse to run there."""
    policies = (Path.home() / ".config/containers/policy.json", Path("/etc/containers/policy.json"))
    return [] if any(path.exists() for path in policies) else ["--insecure-policy"]
