"""User ids for the processes of one machine, when root runs it: no other machine and no user of the host has them.

Every machine's home folder claims a block of ids in `/var/lib/pyro-mcp/ids`, one folder for the whole host: a symbolic
link named by the first id of the block points to the home, where the file `.ids` names that id. A claim lasts as long
as both agree, and so as long as the home; an id is given away again only when no process has it either.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import locked, private_directory

REGISTRY = Path("/var/lib/pyro-mcp/ids")
_NAME = "pyro-mcp"
_SUBORDINATE = Path("/etc/subuid")
_KEPT = ".ids"
_BLOCK = 4
# Linux gives nobody an id in the first range (systemd's UIDS-GIDS.md); the second one is systemd's for services that
# come and go, and exists also in containers that have 65,536 ids.
_DEFAULT_RANGES = (range(0x70000000, 0x70010000), range(61184, 65520))


@dataclass(frozen=True)
class Ids:
    """The ids of one machine, each of a user and of its group: of QEMU, and of the two halves of its gateway."""

    machine: int

    @property
    def inner(self) -> int:
        return self.machine + 1

    @property
    def outer(self) -> int:
        return self.machine + 2


def machine_ids(home: Path) -> Ids | None:
    """The ids of the machine that lives in the folder `home`, claimed at the first call; None unless we are root.

    Who is called root in a user namespace that has nobody else is an ordinary user. Raises `HostNotReady` when none
    is free.
    """
    if os.geteuid() != 0 or _alone():
        return None
    owner = os.path.realpath(home)
    registry = private_directory(REGISTRY)
    noted = _noted(owner)
    if noted is not None and _owner(registry / str(noted)) == owner:
        return Ids(noted)
    with locked(registry / ".lock", deadline_seconds=30, what="the list of user ids"):
        for first in _candidates(usable_range()):
            if _free(registry / str(first), first):
                scratch = registry / ".claim"
                scratch.unlink(missing_ok=True)
                scratch.symlink_to(owner)
                scratch.replace(registry / str(first))
                Path(owner, _KEPT).write_text(str(first))
                return Ids(first)
    raise HostNotReady("every user id for machines is in use", hint=f"enlarge the range of {_NAME} in {_SUBORDINATE}")


def release_ids(home: Path) -> None:
    """Give the ids of `home` back: no process may have them any more, and its files must be about to go."""
    owner = os.path.realpath(home)
    noted = _noted(owner)
    if noted is not None and _owner(REGISTRY / str(noted)) == owner:
        (REGISTRY / str(noted)).unlink()
    Path(owner, _KEPT).unlink(missing_ok=True)


def _noted(home: str) -> int | None:
    """The first id that a home says it has."""
    try:
        return int(Path(home, _KEPT).read_text())
    except (OSError, ValueError):
        return None


def _owner(claim: Path) -> str:
    """The home that has claimed a block, "" for none."""
    try:
        return os.readlink(claim)
    except OSError:
        return ""


def usable_range() -> range:
    """Where ids come from: the range of `pyro-mcp` in /etc/subuid, or the first default that exists here.

    Raises `HostNotReady` when there is none: a user namespace may have few ids.
    """
    configured = list(_configured())
    for ids in configured or _DEFAULT_RANGES:
        if all(_mapped(ids, Path("/proc/self", name)) for name in ("uid_map", "gid_map")):
            return ids
    wanted = configured[0] if configured else _DEFAULT_RANGES[-1]
    raise HostNotReady(
        f"this user namespace has no ids {wanted.start}–{wanted.stop - 1}, and machines of root need ids of their own",
        hint=f"give the container 65536 ids, or name a range of them in {_SUBORDINATE}: {_NAME}:FIRST:COUNT",
    )


def _alone() -> bool:
    """Whether this user namespace has one user only: user_namespaces(7)."""
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) == 1


def _configured() -> Iterator[range]:
    with suppress(OSError):
        for line in _SUBORDINATE.read_text().splitlines():
            words = line.split(":")
            if len(words) == 3 and words[0] == _NAME and words[1].isdigit() and words[2].isdigit():
                first, count = int(words[1]), int(words[2])
                if first > 0 and count >= _BLOCK:
                    yield range(first, first + count)


def _mapped(ids: range, table: Path) -> bool:
    """Whether this user namespace has all of these ids: user_namespaces(7)."""
    lines = [[int(word) for word in line.split()] for line in table.read_text().splitlines()]
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in lines)


def _candidates(ids: range) -> Iterator[int]:
    """The first ids of all blocks, from a random one on, so that an id just given back rests."""
    blocks = len(ids) // _BLOCK
    start = secrets.randbelow(blocks)
    for step in range(blocks):
        yield ids.start + (start + step) % blocks * _BLOCK


def _free(claim: Path, first: int) -> bool:
    """Whether nobody has claimed a block, or the home that did is gone and so are its processes."""
    owner = _owner(claim)
    return not owner or (_noted(owner) != first and not _in_use(range(first, first + _BLOCK)))


def _in_use(ids: range) -> bool:
    """Whether any process runs as one of these users."""
    with os.scandir("/proc") as entries:
        return any(_user(entry.path) in ids for entry in entries if entry.name.isdigit())


def _user(process: str) -> int:
    # Not the owner of the folder in /proc: that is root for a process that nobody may look into.
    with suppress(OSError):
        for line in Path(process, "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1
