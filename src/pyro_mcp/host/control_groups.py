"""Control groups that bound all memory of a set of processes: their pages, page tables, sockets and files in memory.

Resource limits bound each process only. A group can be made by root, and by an ordinary user inside a tree that was
delegated to it, as systemd does for what its user manager starts, with the controller for memory. cgroups(7)
"""

from __future__ import annotations

import os
import secrets
import select
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "pyro-mcp-kernel-"
_YOUNG_SECONDS = 60.0


@dataclass(frozen=True)
class _Place:
    """A folder in which groups can be made; `version` of the interface is 1 or 2."""

    folder: Path
    version: int


def make_group(memory_bytes: int, processes: int) -> Path | None:
    """Return the folder of a new group with these bounds, or None where this process can make none.

    A process joins by writing 0 into its file `cgroup.procs`. Groups that were left behind are removed.
    """
    for place in _places():
        _remove_old(place.folder)
        group = place.folder / f"{_PREFIX}{secrets.token_hex(8)}"
        with suppress(OSError):
            group.mkdir()
            if _bounded(group, place.version, memory_bytes, processes):
                return group
            remove_group(group)
    return None


def remove_group(group: Path, *, deadline_seconds: float = 2.0) -> None:
    """Remove a group whose processes have been killed, as soon as they have ended; without effect if it is gone.

    A group with processes that go on is left as it is.
    """
    end = time.monotonic() + deadline_seconds
    for pid in _lines(str(group / "cgroup.procs")):
        with suppress(OSError):  # it has ended
            process = os.pidfd_open(int(pid))
            select.select([process], [], [], max(0.0, end - time.monotonic()))
            os.close(process)
    with suppress(OSError):
        group.rmdir()


def _bounded(group: Path, version: int, memory_bytes: int, processes: int) -> bool:
    """Set the bounds of a group; return whether that on memory holds. The others may be missing."""
    names = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if version == 1 else ("memory.max", "pids.max")
    others = {"memory.memsw.limit_in_bytes": 2 * memory_bytes, "pids.max": processes}
    others |= {"memory.swap.max": memory_bytes, "memory.oom.group": 1}
    with suppress(OSError):
        _write(group / names[0], memory_bytes)
        for name, value in others.items():
            with suppress(OSError):
                _write(group / name, value)
        return os.access(group / "cgroup.procs", os.W_OK)
    return False


def _write(path: Path, value: int) -> None:
    # Not `open` with a mode that creates: a file that is missing is a bound that this kernel does not have.
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _places() -> Iterator[_Place]:
    """Yield where groups for memory can be made, below the group of this process or beside it."""
    paths = {kinds: path for _, kinds, path in (line.split(":", 2) for line in _lines("/proc/self/cgroup"))}
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        (root, mount), (kind, _, options) = before.split()[3:5], after.split()[:3]
        controllers = "memory" if kind == "cgroup" and "memory" in options.split(",") else ""
        own = next((path for kinds, path in paths.items() if controllers in kinds.split(",")), None)
        if kind not in {"cgroup", "cgroup2"} or (kind == "cgroup" and not controllers) or own is None:
            continue
        with suppress(ValueError):
            ours = Path(mount, *Path(own).relative_to(root).parts)
            if kind == "cgroup":
                yield from (_Place(ours, 1) for _ in range(os.access(ours, os.W_OK)))
            else:
                yield from (_Place(folder, 2) for folder in _delegated(ours, Path(mount)))


def _delegated(ours: Path, mount: Path) -> Iterator[Path]:
    """Yield our group and those above it in which we may make groups and move processes to them."""
    for folder in [ours, *(one for one in ours.parents if one.is_relative_to(mount))]:
        controllers = " ".join(_lines(str(folder / "cgroup.subtree_control"))).split()
        if "memory" in controllers and os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            yield folder


def _remove_old(folder: Path) -> None:
    """Remove the groups without processes, but those that may still wait for their first."""
    with suppress(OSError):
        for group in folder.glob(f"{_PREFIX}*"):
            if time.time() - group.stat().st_ctime > _YOUNG_SECONDS:
                with suppress(OSError):  # it has processes
                    group.rmdir()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
