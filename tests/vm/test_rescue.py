"""The disk of a workspace that does not run can be read, and missing files are reported."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from pyro_mcp.errors import Conflict, GuestFailed, PyroError
from pyro_mcp.host.files import state_home


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """Run the block without the file."""
    away = path.with_name("away")
    path.rename(away)
    yield
    away.rename(path)


def test_a_missing_file_of_a_disk_is_named_and_never_taken_for_an_empty_disk(pyro: Pyro, home: Path) -> None:
    (home / "seed").mkdir()
    (home / "seed" / "file").write_text("seeded\n")
    id_ = pyro.create_workspace("debian:12", seed_path=home / "seed")["workspace_id"]
    pyro.write_workspace_file(id_, "other", text="kept\n")
    pyro.stop_workspace(id_)
    folder = state_home() / "machines" / id_
    (top,) = (folder / "live").iterdir()
    for missing in (top, folder / "baseline.erofs"):
        with gone(missing):
            for use in (pyro.list_workspace_disk, pyro.start_workspace):
                with pytest.raises(GuestFailed, match=str(missing)):
                    use(id_)
        assert pyro.read_workspace_disk(id_, "/workspace/other")["content"] == "kept\n"
    pyro.start_workspace(id_)
    assert pyro.exec_workspace(id_, command="cat file other")["stdout"] == "seeded\nkept\n"
    assert len(pyro.list_workspaces()["workspaces"]) == 1
    pyro.delete_workspace(id_)


def test_the_disk_of_a_workspace_whose_machine_died_is_read(pyro: Pyro) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    pyro.write_workspace_file(id_, "file", text="kept\n")
    with pytest.raises(Conflict, match="stop it first"):
        pyro.list_workspace_disk(id_)
    (process,) = find_processes(str(state_home() / "machines" / id_))
    ended = os.pidfd_open(process.pid)
    os.killpg(process.pid, 9)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
    assert [one["state"] for one in pyro.list_workspaces()["workspaces"]] == ["failed"]
    assert pyro.read_workspace_disk(id_, "/workspace/file")["content"] == "kept\n"
    assert pyro.status_workspace(id_)["failure"] == "the virtual machine ended by itself"
    with pytest.raises(PyroError):
        pyro.exec_workspace(id_, command="true")
    pyro.start_workspace(id_)
    assert pyro.exec_workspace(id_, command="cat file")["stdout"] == "kept\n"
    pyro.delete_workspace(id_)
