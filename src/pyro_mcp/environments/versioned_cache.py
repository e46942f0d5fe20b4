"""A cache folder that holds complete, sealed versions of one thing, each in a folder of its own.

* `.lock` is held by the process that adds or removes a version.
* `.work` is where a version is made; it is a leftover when no process holds the lock.
* `VERSION/` holds the files of a version, `record.json` that describes it, and the seal over the files.
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
    """A complete version: its folder, the metadata that was given to `publish`, and when (seconds since 1970)."""

    folder: Path
    metadata: Mapping[str, object]
    built_at: float


class VersionedCache:
    """The versions of one thing. Reading needs no lock; a process adds or removes versions inside `exclusive`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, version: str) -> CachedVersion | None:
        """Return a version, or None unless it is complete and its files are as they were published.

        Reads only files whose size, dates or inode have changed.
        """
        return _read(self.folder / _folder_name(version))

    def damaged_files(self, version: str) -> list[str]:
        """Return the files of a version that were changed after `publish`; none when there is no such version."""
        folder = self.folder / _folder_name(version)
        return [str(folder / name) for name in damaged(folder)] if (folder / _RECORD).exists() else []

    def versions(self) -> list[CachedVersion]:
        """Return all complete versions, newest first."""
        complete = [found for folder in self._version_folders() if (found := _read(folder)) is not None]
        return sorted(complete, key=lambda found: found.built_at, reverse=True)

    @contextmanager
    def exclusive(
        self, what: str, progress: Progress = silent, patience_seconds: float = PATIENCE_SECONDS
    ) -> Iterator[Path]:
        """Lock the cache and yield an empty work folder, which is removed at the end of the block.

        Waits up to `patience_seconds` for the process that holds the lock. That process may have made the same thing,
        so look for it again inside the block. Raises `Busy`, `NoSpace`.
        """
        work = self.folder / ".work"
        with ExitStack() as stack:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(self._locked(what, progress, patience_seconds))
                self._remove_leftovers()
                stack.callback(remove_tree, work)
                work.mkdir()
                yield work
            except OSError as error:
                raise no_space(error, self.folder) from error

    def publish(self, version: str, folder: Path, metadata: Mapping[str, object]) -> CachedVersion:
        """Move the content of `folder`, which is in the work folder, into the cache as a version. Raises `NoSpace`."""
        target = self.folder / _folder_name(version)
        with atomic_folder(target) as scratch:
            for entry in folder.iterdir():
                entry.rename(scratch / entry.name)
            (scratch / _RECORD).write_text(json.dumps({"facts": metadata, "built_at": time.time()}))
            seal(scratch)
        found = _read(target)
        assert found is not None, "a version is complete once it is published"
        return found

    def remove(self, version: CachedVersion) -> int:
        """Remove a version; return the bytes freed."""
        return _remove(version.folder)

    def remove_incomplete(self) -> int:
        """Remove everything that is not a complete version; return the bytes freed. The lock must be held."""
        complete = {found.folder for found in self.versions()}
        incomplete = [folder for folder in self._version_folders() if folder not in complete]
        return self._remove_leftovers() + sum(_remove(folder) for folder in incomplete)

    def _remove_leftovers(self) -> int:
        """Remove what interrupted processes left. No process uses it: this one holds the lock."""
        leftovers = [self.folder / ".work", *self.folder.glob(".scratch-*")]
        return sum(_remove(path) for path in leftovers if path.exists())

    def _version_folders(self) -> list[Path]:
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


def _folder_name(version: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+~_-]", "-", version).lstrip(".")


def _read(folder: Path) -> CachedVersion | None:
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        found = CachedVersion(folder, dict(record["facts"]), float(record["built_at"]))
        return found if intact(folder, lambda: _has_recorded_dates(folder, record["files"])) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # missing, or damaged by a crash or by another program: in each case it is made again


def _has_recorded_dates(folder: Path, files: Mapping[str, list[int]]) -> bool:
    """Check the sizes and dates in the record of a version that was published before seals were introduced."""
    found = {name: (folder / name).stat() for name in files}
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
