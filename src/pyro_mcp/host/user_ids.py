"""User ids for the processes of one machine that root starts; no other machine and no user of the host has them.

A machine's home folder claims a block of ids in `/var/lib/pyro-mcp/ids`, the registry of the whole host: a symbolic
link, named by the first id of the block, points to the home, and the file `.ids` in the home holds that id. The claim
holds while both agree. A block is reused when its claim no longer holds and no process runs under one of its ids.
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
SUBORDINATE_IDS = Path("/etc/subuid")
"""The file that may name the range of our ids: subuid(5)."""
_ID_FILE = ".ids"
_BLOCK = 4
# No user of a Linux distribution has an id in the first range (systemd's UIDS-GIDS.md). The second one is systemd's
# for dynamic users; it also exists in containers that have 65,536 ids.
_DEFAULT_RANGES = (range(0x70000000, 0x70010000), range(61184, 65520))


@dataclass(frozen=True)
class UserIds:
    """The ids of one machine, each for a user and its group: of the engine's process and of its gateway's two."""

    machine: int

    @property
    def relay(self) -> int:
        return self.machine + 1

    @property
    def policy(self) -> int:
        return self.machine + 2


def machine_ids(home: Path) -> UserIds | None:
    """Return the ids of the machine whose home folder is `home`; the first call claims them. None unless we are root.

    Root of a user namespace with a single user counts as an ordinary user. Writes `.ids` into `home`. Raises
    `HostNotReady` when no block is free.
    """
    if os.geteuid() != 0 or _is_single_user_namespace():
        return None
    owner = os.path.realpath(home)
    registry = private_directory(REGISTRY)
    claimed = _claimed_id(owner)
    if claimed is not None and _owner(registry / str(claimed)) == owner:
        return UserIds(claimed)
    with locked(registry / ".lock", deadline_seconds=30, what="the list of user ids"):
        for first in _candidates(usable_range()):
            if _free(registry / str(first), first):
                _claim(registry / str(first), owner)
                Path(owner, _ID_FILE).write_text(str(first))
                return UserIds(first)
    raise HostNotReady(
        "every user id for machines is in use", hint=f"enlarge the range of {_NAME} in {SUBORDINATE_IDS}"
    )


def move_ids(former: Path, home: Path) -> None:
    """Let `home` own the ids that the home `former` has claimed, in the place of its own; nothing unless we are root.

    Processes may run under them. Whenever this process dies, the ids belong to one of both homes.
    """
    claimed = _claimed_id(os.path.realpath(former))
    if claimed is None or machine_ids(former) is None:
        return
    with locked(REGISTRY / ".lock", deadline_seconds=30, what="the list of user ids"):
        release_ids(home)
        Path(home, _ID_FILE).write_text(str(claimed))
        _claim(REGISTRY / str(claimed), os.path.realpath(home))
    Path(former, _ID_FILE).unlink(missing_ok=True)


def release_ids(home: Path) -> None:
    """Release the ids of `home`. No process may run under them, and the caller removes their files afterwards."""
    owner = os.path.realpath(home)
    claimed = _claimed_id(owner)
    if claimed is not None and _owner(REGISTRY / str(claimed)) == owner:
        (REGISTRY / str(claimed)).unlink()
    Path(owner, _ID_FILE).unlink(missing_ok=True)


def _claimed_id(home: str) -> int | None:
    """Return the first id in the file `.ids` of a home, None for none."""
    try:
        return int(Path(home, _ID_FILE).read_text())
    except (OSError, ValueError):
        return None


def _claim(claim: Path, owner: str) -> None:
    """Let the block of ids `claim` belong to a home. The lock of the registry is held."""
    scratch = claim.with_name(".claim")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(owner)
    scratch.replace(claim)


def _owner(claim: Path) -> str:
    """Return the home that has claimed a block, "" for none."""
    try:
        return os.readlink(claim)
    except OSError:
        return ""


def usable_range() -> range:
    """Return the range of ids to choose from: that of `pyro-mcp` in /etc/subuid, or the first default that exists here.

    Raises `HostNotReady` when this user namespace has neither.
    """
    configured = list(_configured())
    for ids in configured or _DEFAULT_RANGES:
        if all(_mapped(ids, Path("/proc/self", name)) for name in ("uid_map", "gid_map")):
            return ids
    wanted = configured[0] if configured else _DEFAULT_RANGES[-1]
    raise HostNotReady(
        f"this user namespace has no ids {wanted.start}–{wanted.stop - 1}, and machines of root need ids of their own",
        hint=f"give the container 65536 ids, or name a range of them in {SUBORDINATE_IDS}: {_NAME}:FIRST:COUNT",
    )


def _is_single_user_namespace() -> bool:
    """Return whether this user namespace maps exactly one user id: user_namespaces(7)."""
    return sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines()) == 1


def _configured() -> Iterator[range]:
    with suppress(OSError):
        for line in SUBORDINATE_IDS.read_text().splitlines():
            words = line.split(":")
            if len(words) == 3 and words[0] == _NAME and words[1].isdigit() and words[2].isdigit():
                first, count = int(words[1]), int(words[2])
                if first > 0 and count >= _BLOCK:
                    yield range(first, first + count)


def _mapped(ids: range, table: Path) -> bool:
    """Return whether this user namespace maps all of these ids: user_namespaces(7)."""
    lines = [[int(word) for word in line.split()] for line in table.read_text().splitlines()]
    return any(first <= ids.start and ids.stop <= first + count for first, _, count in lines)


def _candidates(ids: range) -> Iterator[int]:
    """Yield the first id of every block, from a random block on, so that a released block is not reused at once."""
    blocks = len(ids) // _BLOCK
    start = secrets.randbelow(blocks)
    for step in range(blocks):
        yield ids.start + (start + step) % blocks * _BLOCK


def _free(claim: Path, first: int) -> bool:
    """Return whether a block is unclaimed, or its claim no longer holds and no process runs under its ids."""
    owner = _owner(claim)
    return not owner or (_claimed_id(owner) != first and not _in_use(range(first, first + _BLOCK)))


def _in_use(ids: range) -> bool:
    """Return whether any process runs as one of these users."""
    with os.scandir("/proc") as entries:
        return any(_user(entry.path) in ids for entry in entries if entry.name.isdigit())


def _user(process: str) -> int:
    # Not the owner of the folder in /proc: that is root for an undumpable process.
    with suppress(OSError):
        for line in Path(process, "status").read_text().splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1
