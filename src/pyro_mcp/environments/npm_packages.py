"""Install packages of npm's registry, each verified by its hash; no program of a package runs.

The file of a package is at REGISTRY/NAME/-/NAME-VERSION.tgz, where npm's own registry and its mirrors have it, and
`integrity` is a digest of that file: https://www.w3.org/TR/SRI/.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import shutil
import tarfile
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from pyro_mcp.environments.catalog import NpmPackage
from pyro_mcp.environments.download import opened
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.mirrors import npm_registry, npm_token, without_credentials

_PUBLIC = "https://registry.npmjs.org"
_MAX_PACKAGE = 1 << 30
_PIECE = 1 << 20
_EXECUTABLE = 0o111


def install_package(package: NpmPackage, root: Path, work: Path) -> None:
    """Put the files and links of a package below `root`; raises `EnvironmentFailed`."""
    path = work / "package.tgz"
    _fetch(package, path)
    found = set()
    with tarfile.open(path) as archive:
        for member in archive:
            target, source = _target(package, member.name)
            if member.isfile() and target is not None:
                found.add(source)
                _write(archive, member, root / target)
    path.unlink()
    if missing := package.files.keys() - found:
        raise EnvironmentFailed(f"{package.name} {package.version} does not hold {', '.join(sorted(missing))}")
    for name, target in package.links.items():
        (root / name).symlink_to(target)


def _target(package: NpmPackage, name: str) -> tuple[str | None, str]:
    """Return the path of a member in the environment, None if it is left out, and the key of `files` that gives it."""
    parts = PurePosixPath(name).parts[1:]  # without the first folder, "package"
    if ".." in parts:
        return None, ""
    inner = "/".join(parts)
    for source, target in package.files.items():
        if inner == source:
            return target, source
        if source == "" or inner.startswith(f"{source}/"):
            return f"{target}/{inner.removeprefix(source).lstrip('/')}", source
    return None, ""


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as file:
        shutil.copyfileobj(content, file, _PIECE)
    target.chmod(0o755 if member.mode & _EXECUTABLE else 0o644)


def _fetch(package: NpmPackage, path: Path) -> None:
    """Download a package's file and verify it."""
    registry = (npm_registry() or _PUBLIC).rstrip("/")
    token = npm_token(registry)
    url = f"{registry}/{package.name}/-/{package.name.rpartition('/')[2]}-{package.version}.tgz"
    digest = hashlib.sha512()
    size = 0
    try:
        authorization = f"Bearer {token}" if token else ""
        with opened(url, {}, authorization=authorization) as answer, open(path, "wb") as file:
            while piece := answer.read(_PIECE):
                size += len(piece)
                if size > _MAX_PACKAGE:
                    raise ValueError("the file is too large")
                digest.update(piece)
                file.write(piece)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise EnvironmentFailed(
            f"{without_credentials(url)} cannot be read: {error}",
            hint="check the network, and the registry that npm is set to: npm config get registry",
        ) from error
    if f"sha512-{base64.b64encode(digest.digest()).decode()}" != package.integrity:
        raise EnvironmentFailed(
            f"{without_credentials(registry)} sent a {package.name} {package.version} with another hash than expected",
            hint="ask the owner of that registry before you use it",
        )
