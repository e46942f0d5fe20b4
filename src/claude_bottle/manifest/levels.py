"""The user's and the project's manifest, merged into one, with the file that each key came from.

A key of the project's manifest replaces the same key of the user's. Bottles, agents and their objects are merged key by
key, except a secret: its source and its hosts come from one file.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_bottle.errors import ManifestError, Problem
from claude_bottle.manifest.models import Manifest, checked, reference_problems
from claude_bottle.manifest.problems import shown_path
from claude_bottle.manifest.reading import read_manifest
from pyro_mcp.errors import InvalidRequest, NotFound

NAMES = ("bottles.toml", "bottles.json")
_MOST = 100  # problems, as for one file
_MERGED_DEPTH = 4  # bottles . NAME . env . VARIABLE

Where = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """A key that a file gives, by its path (`bottles.dev.egress`), with its value there.

    Compare `where`: in `path` a name with a dot is quoted, and a long one is cut.
    """

    where: Where
    path: str
    value: object
    file: str


@dataclass(frozen=True, kw_only=True)
class LoadedManifest:
    """A manifest, the file of each level, and the keys that these files set; all other keys have their defaults.

    The levels are "user" and "project", or "given" for a file that the user named.
    """

    manifest: Manifest
    levels: Mapping[str, Path]
    digests: Mapping[str, str]
    """The SHA-256 digest of each level's file, as it was read."""
    settings: tuple[Setting, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read."""
        return tuple(self.levels.values())

    def budget_file(self, bottle: str) -> str:
        """Return the first file that limits the days or all runs of a bottle, else the last file; "" for no file."""
        keys = [("bottles", bottle, "budget", span) for span in ("day", "bottle")]
        found = {one.file for one in self.settings if one.where[:4] in keys}
        files = [str(path) for path in self.files]
        return next((file for file in files if file in found), files[-1] if files else "")

    @property
    def origins(self) -> Mapping[str, str]:
        """The file of each key that a file sets."""
        return {one.path: one.file for one in self.settings}


def load(folder: Path | None = None, *, file: Path | None = None) -> LoadedManifest:
    """Return the manifest for work in `folder` (default: the working folder): the user's and the project's, merged.

    With `file`, only that one is read. Raises `ManifestError` with all problems, and `NotFound` when there is no file.
    """
    folder = Path.cwd() if folder is None else folder
    levels = {"given": (file, None)} if file is not None else dict(_levels(folder))
    if not levels:
        raise NotFound(
            f"there is no manifest: neither in {user_folder()} nor in {project_root(folder)}",
            hint=f"'claude-bottle init' writes one; its name is {' or '.join(NAMES)}",
        )
    files = {level: (str(path), *read_manifest(path, within=within)) for level, (path, within) in levels.items()}
    objects = [(path, obj) for path, obj, _ in files.values()]
    problems = [Problem(one.path, one.message, path) for path, obj in objects for one in checked(obj, partly=True)[1]]
    if problems:
        raise ManifestError(tuple(problems))
    merged: dict[str, Any] = {}
    origins: dict[Where, str] = {}
    for path, obj in objects:
        _merge(merged, {key: value for key, value in obj.items() if key != "$schema"}, (), path, origins)
    manifest, found = checked(merged)
    found = found or (reference_problems(manifest) if manifest else ())
    if manifest is None or found:
        shown = {shown_path(where): path for where, path in origins.items()}
        raise ManifestError(tuple(Problem(one.path, one.message, _origin(one.path, shown)) for one in found[:_MOST]))
    settings = tuple(Setting(at, shown_path(at), value, origins[at]) for at, value in _leaves(merged, ()))
    return LoadedManifest(
        manifest=manifest,
        levels={level: path for level, (path, _) in levels.items()},
        digests={level: digest for level, (_, _, digest) in files.items()},
        settings=settings,
    )


def user_folder() -> Path:
    """Return the folder of the user's manifest: `$XDG_CONFIG_HOME/claude-bottle`."""
    given, home = os.environ.get("XDG_CONFIG_HOME", ""), os.environ.get("HOME", "")
    if os.path.isabs(given):  # XDG: ignore a relative path
        return Path(given, "claude-bottle")
    return Path(home if os.path.isabs(home) else pwd.getpwuid(os.getuid()).pw_dir, ".config/claude-bottle")


def project_root(folder: Path) -> Path:
    """Return the root of the project that `folder` is in: the nearest folder with `.git`, else `folder` itself."""
    here = Path(os.path.abspath(folder))
    return next((one for one in (here, *here.parents) if os.path.lexists(one / ".git")), here)


def manifest_in(folder: Path) -> Path | None:
    """Return the manifest in a folder, None for none; raises `InvalidRequest` when there are two."""
    found = [folder / name for name in NAMES if os.path.lexists(folder / name)]
    if len(found) > 1:
        raise InvalidRequest(
            f"{folder} has two manifests, {' and '.join(NAMES)}", hint="merge them into one file, and remove the other"
        )
    return found[0] if found else None


def _levels(folder: Path) -> Iterator[tuple[str, tuple[Path, Path | None]]]:
    """Yield each level that has a manifest, the user's first: its file, and the folder that a link must not leave."""
    if (own := manifest_in(user_folder())) is not None:
        yield "user", (own, None)  # people keep their settings elsewhere and link to them
    root = project_root(folder)
    if (path := manifest_in(root)) is not None and path != own:
        yield "project", (path, root)


def _merge(into: dict[str, Any], obj: Mapping[str, Any], where: Where, path: str, origins: dict[Where, str]) -> None:
    for key, value in obj.items():
        at = (*where, key)
        origins[at] = path
        if isinstance(value, dict) and len(at) < _MERGED_DEPTH:
            _merge(into.setdefault(key, {}), value, at, path, origins)
        else:
            into[key] = value


def _leaves(merged: Mapping[str, Any], where: Where) -> Iterator[tuple[Where, object]]:
    """Yield each key that is merged as a whole, and each object that is empty."""
    for key, value in merged.items():
        at = (*where, key)
        if isinstance(value, dict) and value and len(at) < _MERGED_DEPTH:
            yield from _leaves(value, at)
        else:
            yield at, value


def _origin(path: str, shown: Mapping[str, str]) -> str:
    """Return the file that has the key at `path`, or the nearest key above it."""
    above = [one for one in shown if path == one or path.startswith((f"{one}.", f"{one}["))]
    return shown[max(above, key=len)] if above else ""
