"""Machines on the accelerators that work on every host, side by side in one process."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.guest.choice import Choice
from pyro_mcp.engine.interface import System
from pyro_mcp.engine.uml import uml_fault
from pyro_mcp.errors import HostNotReady
from tests.leftovers import query_database
from tests.vm.conftest import Create
from tests.vm.running_vm import running

BOTH = ("uml", "tcg")
# Only User-Mode Linux has this file: arch/um/kernel/exitcode.c.
_UML = "test -e /proc/exitcode && echo uml || echo other"


@pytest.fixture(autouse=True)
def no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYRO_ACCELERATOR", raising=False)


def test_one_engine_runs_machines_on_both_at_the_same_time(warm_cache: Path, system: System) -> None:
    engine = GuestEngine(warm_cache)
    with ExitStack() as stack:
        machines = {}
        for name in BOTH:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-")))
            machines[name] = stack.enter_context(running(engine, system, folder, accelerator=name))
        assert [machines[name].accelerator for name in BOTH] == list(BOTH)
        assert [machines[name].sh(_UML) for name in BOTH] == ["uml\n", "other\n"]


def test_a_workspace_keeps_its_accelerator(
    pyro: Pyro, home: Path, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = create(accelerator="uml")
    monkeypatch.setenv("PYRO_ACCELERATOR", "tcg")
    assert pyro.exec_workspace(id_, command="echo kept > file")["accelerator"] == "uml"
    pyro.stop_workspace(id_)
    assert pyro.start_workspace(id_)["accelerator"] == "uml"
    assert pyro.exec_workspace(id_, command="cat file")["stdout"] == "kept\n"
    fork = pyro.fork_workspace(id_)
    assert fork["accelerator"] == "uml"
    assert pyro.exec_workspace(fork["workspace_id"], command=_UML)["stdout"] == "uml\n"
    assert pyro.reset_workspace(id_)["accelerator"] == "uml"
    assert create() != id_
    assert sorted(query_database(home, "SELECT requested_accelerator, accelerator FROM machines")) == [
        ("tcg", "tcg"), ("uml", "uml"), ("uml", "uml")
    ]  # fmt: skip


def test_a_workspace_of_an_older_version_starts_on_the_default(
    pyro: Pyro, home: Path, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyro.exec_workspace(workspace, command="echo kept > file")
    pyro.stop_workspace(workspace)
    query_database(home, "UPDATE machines SET requested_accelerator = NULL, revision = revision + 1")
    for name in BOTH:
        monkeypatch.setenv("PYRO_ACCELERATOR", name)
        assert pyro.start_workspace(workspace)["accelerator"] == name
        assert pyro.exec_workspace(workspace, command="cat file")["stdout"] == "kept\n"
        pyro.stop_workspace(workspace)


def test_the_probe_boots_a_machine_in_its_cage_and_leaves_nothing(warm_cache: Path) -> None:
    assert uml_fault(warm_cache) == ""
    assert Choice(warm_cache).choose("uml").name == "uml"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can deny itself new namespaces without changing the host")
def test_the_probe_says_why_the_cage_cannot_be_built(
    warm_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create a new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert uml_fault(warm_cache) == (
        "User-Mode Linux does not work here (bwrap: No permissions to create a new namespace)"
    )
    with pytest.raises(HostNotReady, match="uml was requested, but User-Mode Linux does not work here"):
        Choice(tmp_path).choose("uml")
