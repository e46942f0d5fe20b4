"""A folder of finished things, each in a folder of its own that is there whole or not at all.

* `.lock` is held by whoever makes or removes something here.
* `.work` is where it is made; when nobody holds the lock, it is rubbish.
* `VERSION/` holds what was made, `record.json` that describes it, and the seal of its files.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.environments.user_namespace import remove_tree
from pyro_mcp.errors import Busy
from pyro_mcp.host.files import atomic_folder, locked, no_space
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.host.seals import damaged, intact, seal

PATIENCE_SECONDS = 3600.0

_RECORD = "record.json"


@dataclass(frozen=True)
class CachedVersion:
    """One complete version: its folder, and what its maker wrote down about it."""

    place: Path
    facts: Mapping[str, object]
    built_at: float


class VersionedCache:
    """The versions of one thing. Reading needs no lock; making and removing happens inside `exclusive`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def version(self, version: str) -> CachedVersion | None:
        """This version, or None unless it is complete and its files hold what they held when they were made.

        Reads only files whose size, dates or inode have changed.
        """
        return _read(self.folder / _safe(version))

    def damage(self, version: str) -> list[str]:
        """The files of a version that are not as they were made; none when there is no such version."""
        place = self.folder / _safe(version)
        return [str(place / name) for name in damaged(place)] if (place / _RECORD).exists() else []

    def versions(self) -> list[CachedVersion]:
        """All complete versions, newest first."""
        complete = [made for place in self._places() if (made := _read(place)) is not None]
        return sorted(complete, key=lambda made: made.built_at, reverse=True)

    @contextmanager
    def exclusive(
        self, what: str, progress: Progress = silent, patience_seconds: float = PATIENCE_SECONDS
    ) -> Iterator[Path]:
        """Hold this shelf alone; yields an empty work folder that does not outlive the block.

        Waits for a process that makes the same thing: look again once inside. Raises `Busy`, `NoSpace`.
        """
        work = self.folder / ".work"
        with ExitStack() as stack:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(self._locked(what, progress, patience_seconds))
                self._sweep()
                stack.callback(remove_tree, work)
                work.mkdir()
                yield work
            except OSError as error:
                raise no_space(error, self.folder) from error

    def publish(self, version: str, folder: Path, facts: Mapping[str, object]) -> CachedVersion:
        """Put `folder`, made in the work folder, on the shelf. Raises `NoSpace`."""
        target = self.folder / _safe(version)
        with atomic_folder(target) as scratch:
            for entry in folder.iterdir():
                entry.rename(scratch / entry.name)
            (scratch / _RECORD).write_text(json.dumps({"facts": facts, "built_at": time.time()}))
            seal(scratch)
        made = _read(target)
        assert made is not None, "what was just published is complete"
        return made

    def remove(self, made: CachedVersion) -> int:
        """Remove a version; returns the bytes it took on the disk."""
        return _remove(made.place)

    def clean(self) -> int:
        """Remove all that is not a complete version; returns the bytes it took. The lock must be held."""
        whole = {made.place for made in self.versions()}
        return self._sweep() + sum(_remove(place) for place in self._places() if place not in whole)

    def _sweep(self) -> int:
        """Remove what interrupted work left: we hold the lock, so nobody is using it."""
        rubbish = [self.folder / ".work", *self.folder.glob(".scratch-*")]
        return sum(_remove(path) for path in rubbish if path.exists())

    def _places(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [entry for entry in self.folder.iterdir() if not entry.name.startswith(".")]

    @contextmanager
    def _locked(self, what: str, progress: Progress, patience_seconds: float) -> Iterator[None]:
        lock = self.folder / ".lock"
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(lock, deadline_seconds=0, what=what))
            except Busy:
                if not patience_seconds:
                    raise
                progress(f"waiting for another process that makes {what}", None)
                stack.enter_context(locked(lock, deadline_seconds=patience_seconds, what=what))
            yield


def _safe(version: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+~_-]", "-", version).lstrip(".")


def _read(place: Path) -> CachedVersion | None:
    try:
        record = json.loads((place / _RECORD).read_bytes())
        made = CachedVersion(place, dict(record["facts"]), float(record["built_at"]))
        return made if intact(place, lambda: _as_dated(place, record["files"])) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # not there, or a crash or a visitor damaged it: either way it is made again


def _as_dated(place: Path, files: Mapping[str, list[int]]) -> bool:
    """Whether a version from before there were seals has the sizes and dates of its record."""
    found = {name: (place / name).stat() for name in files}
    return all(files[name] == [one.st_size, one.st_mtime_ns] for name, one in found.items())


def _remove(path: Path) -> int:
    size = _disk_usage(path)
    remove_tree(path)
    return size


def _disk_usage(path: Path) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total
