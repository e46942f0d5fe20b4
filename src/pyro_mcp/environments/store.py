"""All environments of one cache folder: which there are, getting them, and throwing them away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.environments.catalog import CATALOG
from pyro_mcp.environments.custom import CustomKind, CustomSource, StreamedSource
from pyro_mcp.environments.erofs_image import file_digest, pack
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

    `version` is the recipe's, or the manifest digest of an `oci:` image; `path` is an uncompressed EROFS image,
    never written; `digest` is that of the file; `environ` is the default environment of its commands.
    """

    name: str
    version: str
    path: Path
    digest: str
    size_bytes: int
    environ: dict[str, str]


class EnvironmentStore:
    """The environments below `cache`, and the user's own below `own`. Any number of processes may share them."""

    def __init__(
        self, cache: Path, find_source: Callable[[str], Source] = find_source, *, own: Path | None = None
    ) -> None:
        self._images = cache / "environments"
        self._own = own or cache / "own-environments"
        self._kernels = VersionedCache(cache / "kernels")
        self._find_source = find_source

    def list(self) -> Summaries:
        """The catalogue, then what is installed of registries, then the user's own, by name."""
        foreign = sorted(name for name in self._names(self._images) if name.startswith("oci:"))
        return [self._summary(self._source(name)) for name in (*CATALOG, *foreign, *sorted(self._names(self._own)))]

    def inspect(self, name: str) -> EnvironmentDetails:
        """All about one environment, installed or not. Raises `UnknownEnvironment`, `InvalidRequest`."""
        source = self._source(name)
        made = self._made(source)
        image = _as_image(name, made) if made else None
        origin = made.facts.get("origin") if made else None
        return {
            **self._summary(source),
            "packages": [*source.packages],
            "path": str(image.path) if image else None,
            "digest": image.digest if image else None,
            "environ": image.environ if image else {},
            "built_at": made.built_at if made else None,
            "origin": dict(origin) if isinstance(origin, dict) else {},
        }

    def installed(self, name: str) -> RootImage | None:
        """The image, or None unless it is complete and of the current recipe. Reads no file that did not change."""
        made = self._made(self._source(name))
        return _as_image(name, made) if made else None

    def find_build(self, name: str, digest: str) -> RootImage | None:
        """One build of an environment, by the digest of its image; also an old one, until it is pruned."""
        found = (made for made in self._shelf(name).versions() if made.facts["digest"] == digest)
        return next((_as_image(name, made) for made in found), None)

    def pull(self, name: str, progress: Progress = silent) -> RootImage:
        """Get an environment; what is installed is left as it is (a tag is resolved once, until it is pruned).

        Of several processes that pull the same, one works and the others wait for it. Raises
        `EnvironmentFailed`, `NoSpace`, `HostNotReady`, `UnknownEnvironment`, `InvalidRequest`, `Busy`.
        """
        source = self._source(name)
        made = self._made(source) or self._make(source, progress)
        progress(f"{name} is ready", 1.0)
        return _as_image(name, made)

    def check_name_free(self, name: str, *, replace: bool) -> None:
        """Raise `InvalidRequest` or `Conflict` unless an environment of the user's own may be made under this name."""
        check_custom_name(name)
        if not replace and self._shelf(name).versions():
            raise Conflict(
                f"there is an environment {name!r} already", hint=Hint("{} replaces it", Argument("replace", True))
            )

    def add(self, source: StreamedSource, progress: Progress = silent, *, replace: bool = False) -> RootImage:
        """Make an environment of the user's own. With `replace` an older one of that name stays until a prune.

        Raises what `pull` and `check_name_free` raise.
        """
        self.check_name_free(source.name, replace=replace)
        shelf = self._shelf(source.name)
        with shelf.exclusive(source.name, progress) as work:
            self.check_name_free(source.name, replace=replace)
            made = self._build(source, shelf, work, progress)
        progress(f"{source.name} is ready", 1.0)
        return _as_image(source.name, made)

    def delete(self, name: str) -> int:
        """Remove an environment of the user's own; returns the bytes freed. Raises `NotFound`, `Busy`."""
        check_custom_name(name)
        shelf = self._shelf(name)
        if not shelf.versions():
            raise NotFound(
                f"you have no environment {name!r}", hint=Hint("{} shows the environments", Verb("env list"))
            )
        with shelf.exclusive(name, patience_seconds=0):
            return sum(shelf.remove(made) for made in shelf.versions()) + shelf.clean()

    def kernel(self, progress: Progress = silent) -> GuestKernel:
        """The guest kernel, fetched when it is not there. Raises as `pull` does."""
        return fetch_kernel(self._kernels, progress)

    def prune(self, keep: Collection[str] = (), needed: Collection[str] = ()) -> PruneReport:
        """Remove old versions, leftovers, and every `oci:` image whose name is not in `keep`.

        Of the user's own environments only what was replaced goes. The builds whose digests are `needed` stay.
        """
        report: PruneReport = {"removed": [], "skipped": [], "freed_bytes": 0}
        current = current_kernel(self._kernels)
        wanted = {current.vmlinuz.parent} if current else set()
        self._prune_shelf(self._kernels, wanted, report)
        for shelf in self._shelves(self._images):
            self._prune_shelf(shelf, self._wanted(shelf, keep) | _builds(shelf, needed), report)
        for shelf in self._shelves(self._own):
            newest = {made.place for made in shelf.versions()[:1]}
            self._prune_shelf(shelf, newest | _builds(shelf, needed), report)
        return report

    def _make(self, source: Source, progress: Progress) -> CachedVersion:
        shelf = self._shelf(source.name)
        with shelf.exclusive(source.name, progress) as work:
            if (made := self._made(source)) is not None:
                return made
            for path in shelf.damage(source.version) if source.version else ():
                progress(f"{path} was changed after it was made; making {source.name} again", None)
            return self._build(source, shelf, work, progress)

    def _build(self, source: Source, shelf: VersionedCache, work: Path, progress: Progress) -> CachedVersion:
        tree = source.build(work, progress)
        progress("writing the image", 0.9)
        folder = work / "image"
        folder.mkdir()
        pack(tree.path, work / _IMAGE)
        digest = file_digest(work / _IMAGE)
        (work / _IMAGE).rename(folder / _IMAGE)
        facts = {"name": source.name, "version": tree.version, "digest": digest, "environ": tree.environ, **tree.facts}
        return shelf.publish(tree.version, folder, facts)

    def _source(self, name: str) -> Source:
        """The source of one environment; raises `UnknownEnvironment`, `InvalidRequest`."""
        try:
            return self._find_source(name)
        except UnknownEnvironment:
            facts = next((made.facts for made in self._shelf(name).versions()), None) if is_custom_name(name) else None
            if facts is None:
                raise unknown_environment(name, [*CATALOG, *self._names(self._own)]) from None
            kind: CustomKind = "built" if facts.get("kind") == "built" else "saved"
            return CustomSource(name, kind, str(facts.get("description", "")))

    def _made(self, source: Source) -> CachedVersion | None:
        shelf = self._shelf(source.name)
        if source.version is not None:
            return shelf.version(source.version)
        return next(iter(shelf.versions()), None)

    def _summary(self, source: Source) -> EnvironmentSummary:
        made = self._made(source)
        image = _as_image(source.name, made) if made else None
        return {
            "name": source.name,
            "version": image.version if image else source.version or "",
            "source": source.kind,
            "description": source.description,
            "installed": image is not None,
            "size_bytes": image.size_bytes if image else None,
        }

    def _shelf(self, name: str) -> VersionedCache:
        return VersionedCache((self._own if is_custom_name(name) else self._images) / folder_name(name))

    def _shelves(self, parent: Path) -> Iterator[VersionedCache]:
        folders = sorted(parent.iterdir()) if parent.is_dir() else []
        return (VersionedCache(folder) for folder in folders if folder.is_dir())

    def _names(self, parent: Path) -> set[str]:
        return {str(made.facts["name"]) for shelf in self._shelves(parent) for made in shelf.versions()}

    def _wanted(self, shelf: VersionedCache, keep: Collection[str]) -> set[Path]:
        """The versions on a shelf that a prune leaves alone: the one in use of each name that is to stay."""
        names = {str(made.facts["name"]) for made in shelf.versions()}
        staying = [name for name in names if name in CATALOG or name in keep]
        return {made.place for name in staying if (made := self._made(self._find_source(name)))}

    def _prune_shelf(self, shelf: VersionedCache, wanted: set[Path], report: PruneReport) -> None:
        if not shelf.folder.is_dir():
            return
        try:
            with shelf.exclusive(shelf.folder.name, patience_seconds=0):
                report["freed_bytes"] += shelf.clean()
                for made in shelf.versions():
                    if made.place not in wanted:
                        report["freed_bytes"] += shelf.remove(made)
                        report["removed"].append(f"{made.facts.get('name', 'kernel')} {made.facts['version']}")
        except Busy:
            report["skipped"].append(shelf.folder.name)


def _builds(shelf: VersionedCache, digests: Collection[str]) -> set[Path]:
    return {made.place for made in shelf.versions() if made.facts.get("digest") in digests}


def _as_image(name: str, made: CachedVersion) -> RootImage:
    environ = made.facts["environ"]
    assert isinstance(environ, dict)
    path = made.place / _IMAGE
    return RootImage(
        name=name,
        version=str(made.facts["version"]),
        path=path,
        digest=str(made.facts["digest"]),
        size_bytes=path.stat().st_size,
        environ=dict(environ),
    )
