"""However many snapshots a workspace has had, its disk has a bounded number of layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.disks import MOST_LAYERS, DiskLayers
from pyro_mcp.engine.qemu import layer_merge, running_disk
from pyro_mcp.errors import NoSpace
from pyro_mcp.machines import lifecycle
from pyro_mcp.workspaces import workspaces
from tests.leftovers import query_database
from tests.vm.processes import kill_machines_below

pytestmark = pytest.mark.accelerators("uml", "qemu")

SNAPSHOTS = 36


def write(pyro: Pyro, id_: str, number: int) -> None:
    """Change the disk: make one file, rewrite one, remove one."""
    change = f"head -c 200000 /dev/urandom > data{number}; rm -f data{number - 2}; echo {number} > n"
    assert pyro.exec_workspace(id_, command=f"{change}; sha256sum data* > sums")["exit_code"] == 0


def require_content(pyro: Pyro, id_: str, number: int) -> None:
    """Fail unless the workspace is as it was after `write` of this number."""
    done = pyro.exec_workspace(id_, command="sha256sum --quiet -c sums && cat n && ls data*")
    expected = [str(number), *sorted(f"data{one}" for one in (number - 1, number) if one >= 0)]
    assert (done["exit_code"], done["stdout"].split()) == (0, expected), done


def layers_of(home: Path) -> list[str]:
    """Return the layers that the record of the only machine names."""
    ((layers,),) = query_database(home, "SELECT layers FROM machines")
    return list(json.loads(str(layers)))


def files_of(home: Path, id_: str) -> set[str]:
    """Return the layers that are on the disk."""
    machine = home / "state/pyro-mcp/machines" / id_
    return {path.name for folder in ("live", "frozen") for path in (machine / folder).iterdir()}


def set_most(monkeypatch: pytest.MonkeyPatch, layers: int) -> None:
    """Let a disk have no more than `layers` layers."""
    for module in (running_disk, lifecycle, workspaces):
        monkeypatch.setattr(module, "MOST_LAYERS", layers)


def test_the_chain_stays_short_and_every_snapshot_holds_what_it_held(home: Path, pyro: Pyro, workspace: str) -> None:
    for number in range(SNAPSHOTS):
        write(pyro, workspace, number)
        pyro.create_snapshot(workspace, f"s{number}")
    assert len(layers_of(home)) < SNAPSHOTS - 5
    assert len(layers_of(home)) <= MOST_LAYERS
    require_content(pyro, workspace, SNAPSHOTS - 1)
    for number in (SNAPSHOTS - 1, 3, layer_merge.MERGE_ABOVE, 2 * layer_merge.MERGE_ABOVE):
        pyro.reset_workspace(workspace, snapshot=f"s{number}")
        require_content(pyro, workspace, number)
        assert len(layers_of(home)) <= MOST_LAYERS


def test_snapshots_that_were_deleted_leave_no_trace(home: Path, pyro: Pyro, workspace: str) -> None:
    for number in range(SNAPSHOTS):
        write(pyro, workspace, number)
        pyro.create_snapshot(workspace, "again")
        pyro.delete_snapshot(workspace, "again")
        assert files_of(home, workspace) == set(layers_of(home))
        assert len(layers_of(home)) <= MOST_LAYERS
    assert len(layers_of(home)) < SNAPSHOTS - 5
    require_content(pyro, workspace, SNAPSHOTS - 1)


@pytest.mark.parametrize("merged", [False, True], ids=["while-it-merges", "merged-but-not-on-record"])
def test_a_machine_killed_around_a_merge_loses_nothing(
    home: Path, pyro: Pyro, workspace: str, merged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_merge, "MERGE_ABOVE", 3)
    if merged:
        begin = layer_merge.start_merge
        monkeypatch.setattr(layer_merge, "start_merge", lambda *arguments: begin(*arguments, wait=True))
    for number in range(7):
        write(pyro, workspace, number)
        if number == 3:
            pyro.exec_workspace(workspace, command="head -c 60000000 /dev/urandom > bulk; sha256sum bulk > bulk.sum")
        pyro.create_snapshot(workspace, f"s{number}")
    kill_machines_below(home)
    pyro.start_workspace(workspace)
    require_content(pyro, workspace, 6)
    assert pyro.exec_workspace(workspace, command="sha256sum --quiet -c bulk.sum")["exit_code"] == 0
    pyro.create_snapshot(workspace, "after")
    pyro.reset_workspace(workspace, snapshot="s4")
    require_content(pyro, workspace, 4)


def test_a_full_chain_is_merged_before_another_layer_comes(
    home: Path, pyro: Pyro, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_merge, "MERGE_ABOVE", 1)
    set_most(monkeypatch, 3)
    monkeypatch.setattr(layer_merge, "lowest_to_merge", lambda _: 1)
    for number in range(6):
        write(pyro, workspace, number)
        pyro.create_snapshot(workspace, f"s{number}")
        assert len(layers_of(home)) <= 4
    forked = pyro.fork_workspace(workspace)["workspace_id"]
    require_content(pyro, forked, 5)
    pyro.delete_workspace(forked)


def test_a_merge_that_would_fill_the_hosts_disk_is_delayed_and_then_required(
    home: Path, pyro: Pyro, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_merge, "MERGE_ABOVE", 1)
    set_most(monkeypatch, 4)
    with monkeypatch.context() as full:
        full.setattr(DiskLayers, "has_space", lambda *_: False)
        for number in range(3):
            write(pyro, workspace, number)
            pyro.create_snapshot(workspace, f"s{number}")
        with pytest.raises(NoSpace, match="could not be merged"):
            pyro.create_snapshot(workspace, "more")
        assert len(layers_of(home)) == 4
        require_content(pyro, workspace, 2)
    pyro.create_snapshot(workspace, "more")
    assert len(layers_of(home)) <= 4
    require_content(pyro, workspace, 2)


def test_a_stopped_workspace_gets_no_layers_from_snapshots(home: Path, pyro: Pyro, workspace: str) -> None:
    write(pyro, workspace, 0)
    pyro.stop_workspace(workspace)
    for number in range(5):
        pyro.create_snapshot(workspace, f"s{number}")
    assert len(layers_of(home)) == 2
    pyro.reset_workspace(workspace, snapshot="s4")
    require_content(pyro, workspace, 0)
