"""All environments of a cache folder: list, inspect, pull, add, delete and prune them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.environments.catalog import CATALOG
from pyro_mcp.environments.custom import CustomKind, CustomSource, StreamedSource
from pyro_mcp.environments.erofs_image import file_digest, write_image
from pyro_mcp.environments.kernel import GuestKernel, current_kernel, fetch_kernel
from pyro_mcp.environments.names import check_custom_name, folder_name, is_custom_name, unknown_environment
from pyro_mcp.environments.source import Source
from pyro_mcp.environments.source_by_name import find_source
from pyro_mcp.environments.versioned_cache import CachedVersion, VersionedCache
from pyro_mcp.errors import Busy, Conflict, NotFound, UnknownEnvironment
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.results import EnvironmentDetails, EnvironmentSummary, PruneReport

Summaries = list[EnvironmentSummary]  # inside a class with a method `list`, that name means the method

_IMAGE = "root.erofs"


@dataclass(frozen=True)
class RootImage:
    """One installed environment.

    `version` is the recipe's, or the manifest digest of an `oci:` image; `path` is an uncompressed EROFS image that
    never changes; `digest` is that of the file; `environ` are the default environment variables of its commands.
    """

    name: str
    version: str
    path: Path
    digest: str
    size_bytes: int
    environ: dict[str, str]


class EnvironmentStore:
    """The environments below `cache`, and the custom ones below `own`. Any number of processes may share them."""

    def __init__(
        self, cache: Path, find_source: Callable[[str], Source] = find_source, *, own: Path | None = None
    ) -> None:
        self._cached = cache / "environments"
        self._custom = own or cache / "own-environments"
        self._kernels = VersionedCache(cache / "kernels")
        self._find_source = find_source

    def list(self) -> Summaries:
        """List the catalogue, then the installed registry images, then the custom environments, each by name."""
        images = sorted(name for name in self._names(self._cached) if name.startswith("oci:"))
        return [self._summary(self._source(name)) for name in (*CATALOG, *images, *sorted(self._names(self._custom)))]

    def inspect(self, name: str) -> EnvironmentDetails:
        """Describe one environment, installed or not. Raises `UnknownEnvironment`, `InvalidRequest`."""
        source = self._source(name)
        found = self._installed(source)
        image = _as_image(name, found) if found else None
        origin = found.metadata.get("origin") if found else None
        return {
            **self._summary(source),
            "packages": [*source.packages],
            "programs": dict(source.programs),
            "path": str(image.path) if image else None,
            "digest": image.digest if image else None,
            "environ": image.environ if image else {},
            "built_at": found.built_at if found else None,
            "origin": dict(origin) if isinstance(origin, dict) else {},
        }

    def installed(self, name: str) -> RootImage | None:
        """Return the image, or None unless it is complete and current. Reads only files that have changed."""
        found = self._installed(self._source(name))
        return _as_image(name, found) if found else None

    def find_build(self, name: str, digest: str) -> RootImage | None:
        """Return the build of an environment whose image has this digest. Old builds exist until they are pruned."""
        builds = (found for found in self._versions(name).versions() if found.metadata["digest"] == digest)
        return next((_as_image(name, found) for found in builds), None)

    def pull(self, name: str, progress: Progress = silent) -> RootImage:
        """Build or fetch an environment unless it is installed; a tag is resolved once, until it is pruned.

        When several processes pull the same environment, one works and the others wait for it. Raises
        `EnvironmentFailed`, `NoSpace`, `HostNotReady`, `UnknownEnvironment`, `InvalidRequest`, `Busy`.
        """
        source = self._source(name)
        found = self._installed(source) or self._make(source, progress)
        progress(f"{name} is ready", 1.0)
        return _as_image(name, found)

    def check_name_free(self, name: str, *, replace: bool) -> None:
        """Raise `InvalidRequest` for a name that no custom environment can have, `Conflict` for one that is taken."""
        check_custom_name(name)
        if not replace and self._versions(name).versions():
            raise Conflict(
                f"the environment {name!r} exists already", hint=Hint("{} replaces it", Argument("replace", True))
            )

    def add(self, source: StreamedSource, progress: Progress = silent, *, replace: bool = False) -> RootImage:
        """Make a custom environment. With `replace`, an older one of that name exists until it is pruned.

        Raises what `pull` and `check_name_free` raise.
        """
        self.check_name_free(source.name, replace=replace)
        versions = self._versions(source.name)
        with versions.exclusive(source.name, progress) as work:
            self.check_name_free(source.name, replace=replace)
            added = self._build(source, versions, work, progress)
        progress(f"{source.name} is ready", 1.0)
        return _as_image(source.name, added)

    def delete(self, name: str) -> int:
        """Remove a custom environment; return the bytes freed. Raises `NotFound`, `Busy`."""
        check_custom_name(name)
        versions = self._versions(name)
        if not versions.versions():
            raise NotFound(
                f"there is no custom environment {name!r}", hint=Hint("{} lists all environments", Verb("env list"))
            )
        with versions.exclusive(name, patience_seconds=0):
            return sum(versions.remove(found) for found in versions.versions()) + versions.remove_incomplete()

    def kernel(self, progress: Progress = silent) -> GuestKernel:
        """Return the guest kernel, fetched if it is not installed. Raises as `pull` does."""
        return fetch_kernel(self._kernels, progress)

    def prune(self, keep: Collection[str] = (), needed: Collection[str] = ()) -> PruneReport:
        """Remove old versions, leftovers, and every `oci:` image whose name is not in `keep`.

        Of a custom environment only replaced versions are removed. Builds whose digests are in `needed` are kept.
        """
        report: PruneReport = {"removed": [], "skipped": [], "freed_bytes": 0}
        kernel = current_kernel(self._kernels)
        _prune(self._kernels, {kernel.vmlinuz.parent} if kernel else set(), report)
        for versions in self._all_versions(self._cached):
            _prune(versions, self._in_use(versions, keep) | _builds(versions, needed), report)
        for versions in self._all_versions(self._custom):
            newest = {found.folder for found in versions.versions()[:1]}
            _prune(versions, newest | _builds(versions, needed), report)
        return report

    def _make(self, source: Source, progress: Progress) -> CachedVersion:
        versions = self._versions(source.name)
        with versions.exclusive(source.name, progress) as work:
            if (found := self._installed(source)) is not None:
                return found
            for path in versions.damaged_files(source.version) if source.version else ():
                progress(f"{path} was changed after it was made; making {source.name} again", None)
            return self._build(source, versions, work, progress)

    def _build(self, source: Source, versions: VersionedCache, work: Path, progress: Progress) -> CachedVersion:
        root = source.build(work, progress)
        progress("writing the image", 0.9)
        folder = work / "image"
        folder.mkdir()
        write_image(root.path, work / _IMAGE)
        digest = file_digest(work / _IMAGE)
        (work / _IMAGE).rename(folder / _IMAGE)
        common = {"name": source.name, "version": root.version, "digest": digest, "environ": root.environ}
        return versions.publish(root.version, folder, {**common, **root.metadata})

    def _source(self, name: str) -> Source:
        """Return the source of one environment; raises `UnknownEnvironment`, `InvalidRequest`."""
        try:
            return self._find_source(name)
        except UnknownEnvironment:
            newest = next(iter(self._versions(name).versions()), None) if is_custom_name(name) else None
            if newest is None:
                raise unknown_environment(name, [*CATALOG, *self._names(self._custom)]) from None
            kind: CustomKind = "built" if newest.metadata.get("kind") == "built" else "saved"
            return CustomSource(name, kind, str(newest.metadata.get("description", "")))

    def _installed(self, source: Source) -> CachedVersion | None:
        versions = self._versions(source.name)
        if source.version is not None:
            return versions.find(source.version)
        return next(iter(versions.versions()), None)

    def _summary(self, source: Source) -> EnvironmentSummary:
        found = self._installed(source)
        image = _as_image(source.name, found) if found else None
        return {
            "name": source.name,
            "version": image.version if image else source.version or "",
            "source": source.kind,
            "description": source.description,
            "installed": image is not None,
            "size_bytes": image.size_bytes if image else None,
        }

    def _versions(self, name: str) -> VersionedCache:
        return VersionedCache((self._custom if is_custom_name(name) else self._cached) / folder_name(name))

    def _all_versions(self, parent: Path) -> Iterator[VersionedCache]:
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        return (VersionedCache(folder) for folder in folders if folder.is_dir())

    def _names(self, parent: Path) -> set[str]:
        return {str(found.metadata["name"]) for versions in self._all_versions(parent) for found in versions.versions()}

    def _in_use(self, versions: VersionedCache, keep: Collection[str]) -> set[Path]:
        """Return the folders of the versions that `pull` would return, for the catalogue and the names in `keep`."""
        names = {str(found.metadata["name"]) for found in versions.versions()}
        kept = [name for name in names if name in CATALOG or name in keep]
        return {found.folder for name in kept if (found := self._installed(self._find_source(name)))}


def _prune(versions: VersionedCache, kept: set[Path], report: PruneReport) -> None:
    """Remove the versions whose folders are not in `kept`, and note them in `report`; skip what is locked."""
    if not versions.folder.is_dir():
        return
    try:
        with versions.exclusive(versions.folder.name, patience_seconds=0):
            report["freed_bytes"] += versions.remove_incomplete()
            for found in versions.versions():
                if found.folder not in kept:
                    report["freed_bytes"] += versions.remove(found)
                    report["removed"].append(f"{found.metadata.get('name', 'kernel')} {found.metadata['version']}")
    except Busy:
        report["skipped"].append(versions.folder.name)


def _builds(versions: VersionedCache, digests: Collection[str]) -> set[Path]:
    return {found.folder for found in versions.versions() if found.metadata.get("digest") in digests}


def _as_image(name: str, found: CachedVersion) -> RootImage:
    environ = found.metadata["environ"]
    assert isinstance(environ, dict)
    path = found.folder / _IMAGE
    return RootImage(
        name=name,
        version=str(found.metadata["version"]),
        path=path,
        digest=str(found.metadata["digest"]),
        size_bytes=path.stat().st_size,
        environ=dict(environ),
    )
