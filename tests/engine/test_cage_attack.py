"""A hostile program in QEMU's place gets no more than it was given; without the cage it gets it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pyro_mcp.engine.cage import Bind
from tests.engine.test_cage import DEADLINE, LIMITS, compiled, identity, pytestmark, started, user

__all__ = ["pytestmark", "user"]

ROADS = ("memfd", "memfd_secret", "shared segment", "file", "pipe", "process", "spaces", "socket pair", "all")
RIGHTS = ("limit", "user", "priority", "personality", "io_uring", "dumps")
THREADS = 192


@pytest.fixture
def attack(home: Path) -> list[str]:
    home.chmod(0o755)
    return [str(compiled("cage_attack.c", home / "attack", "-static", "-D_FORTIFY_SOURCE=0"))]


def test_a_hostile_program_gets_no_more_than_it_was_given(user: int, attack: list[str], home: Path) -> None:
    live = home / "live"
    live.mkdir()
    live.chmod(0o777)
    with started(user, [*attack, str(os.getpid())], [Bind(live, "/live", writable=True)]) as (_, facts):
        pass
    got = {name: how for name, how in facts.items() if how == "ok"}
    assert got == {}
    assert {*ROADS, *RIGHTS} <= facts.keys()
    assert int(facts["sockets"]) == 0
    assert int(facts["threads"]) < THREADS
    assert int(facts["memory"]) <= LIMITS.address_space_bytes >> 20
    assert list(live.iterdir()) == []


def test_a_neighbour_of_the_same_user_cannot_be_reached(user: int, attack: list[str]) -> None:
    with started(user, attack, []) as (neighbour, _), started(user, [*attack, str(neighbour)], []) as (pid, facts):
        assert (facts["signal 1"], facts["kill 1"], facts["look 1"]) == ("ESRCH", "ENOSYS", "ENOENT")
        if user != 0:  # they are the same user out here, so namespaces keep them apart
            assert Path(f"/proc/{pid}").stat().st_uid == Path(f"/proc/{neighbour}").stat().st_uid


def test_without_the_cage_the_same_program_gets_nearly_all_of_it(user: int, attack: list[str]) -> None:
    space = ["/usr/bin/unshare", *([] if user == 0 else ["--user"]), "--ipc", "--pid", "--fork", "--kill-child"]
    words = [*space, *attack]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    done = subprocess.run(words, **pipes, **identity(user), text=True, timeout=DEADLINE, check=False)  # type: ignore[call-overload]
    facts = dict(line.split("=") for line in done.stdout.splitlines() if "=" in line)
    assert {name: facts[name] for name in ("memfd", "shared segment", "pipe", "socket pair")} == dict.fromkeys(
        ("memfd", "shared segment", "pipe", "socket pair"), "ok"
    )
    assert int(facts["memory"]) > LIMITS.address_space_bytes >> 20
    assert int(facts["threads"]) > THREADS
    assert int(facts["sockets"]) > 0
