"""Machines of one root user: each runs as a user of its own, who has no access to the others."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.host.user_ids import REGISTRY, machine_ids

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root's machines have users of their own")

_ATTACK = """
import json, os, sys
def tried(step, *arguments):
    try: step(*arguments)
    except OSError as error: return type(error).__name__
    return "ok"
found = {}
for pid in sys.argv[1:]:
    for name in ("mem", "environ", "root", "cwd", "fd", "maps"):
        path = f"/proc/{pid}/{name}"
        found[f"{name} of {pid}"] = tried(os.listdir if name in ("root", "cwd", "fd") else open, path)
    found[f"signal to {pid}"] = tried(os.kill, int(pid), 0)
print(json.dumps(found))
"""


@pytest.fixture
def homes(pyro: Pyro, home: Path) -> Iterator[list[Path]]:
    """The homes of two running workspaces, the second with network."""
    with ExitStack() as stack:
        made = []
        for policy in ("off", "egress"):
            id_ = pyro.create_workspace("debian:12", network_policy=policy)["workspace_id"]
            stack.callback(pyro.delete_workspace, id_)
            made.append(home / "state/pyro-mcp/machines" / id_)
        yield made


def user_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition("Uid:")[2].split()[0])


def processes(users: range) -> list[int]:
    """Return the processes of the users with these numbers."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*") if (path / "status").exists())
    return [pid for pid in pids if user_of(pid) in users]


def test_a_machines_user_can_neither_look_into_another_machine_nor_signal_it(homes: list[Path]) -> None:
    one, other = (machine_ids(home) for home in homes)
    assert one is not None and other is not None
    targets = processes(range(other.machine, other.machine + 4))
    # What runs the guest, and the relay and policy processes of the gateway.
    assert {user_of(pid) for pid in targets} == {other.machine, other.relay, other.policy}
    for user in (one.machine, one.relay, one.policy):
        done = subprocess.run(
            ["/usr/bin/python3", "-c", _ATTACK, *map(str, targets)],
            user=user, group=user, extra_groups=[], cwd="/", capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        assert set(json.loads(done.stdout).values()) == {"PermissionError"}


def test_the_layers_of_a_machine_belong_to_its_user_alone(homes: list[Path]) -> None:
    owners = []
    for home in homes:
        (layer,) = (home / "live").iterdir()
        owners.append(layer.stat().st_uid)
        assert layer.stat().st_mode & 0o077 == 0
    assert owners == [ids.machine for home in homes if (ids := machine_ids(home))]
    assert owners[0] != owners[1]


def test_a_deleted_workspace_gives_its_ids_back(pyro: Pyro, home: Path) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    ids = machine_ids(home / "state/pyro-mcp/machines" / id_)
    assert ids is not None
    assert (REGISTRY / str(ids.machine)).is_symlink()
    pyro.delete_workspace(id_)
    assert not (REGISTRY / str(ids.machine)).is_symlink()
    assert processes(range(ids.machine, ids.machine + 4)) == []
