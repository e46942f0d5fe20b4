"""Fixtures that build on each other: the files of a system → its prepared template → a running machine.

Each test here runs on the accelerator `uml`, or on those that `pytest.mark.accelerators` names: "uml", and "qemu",
which is KVM where it works and emulation elsewhere. `PYRO_TEST_ACCELERATOR` or `PYRO_ACCELERATOR` names one for all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.guest import GuestEngine
from pyro_mcp.engine.interface import Shape, System
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import HostNotReady
from pyro_mcp.machines.images import Images
from tests.vm.running_vm import Vm, running


@pytest.fixture(scope="session")
def system(warm_cache: Path) -> System:
    """The kernel and the image that a machine of `debian:12` boots from."""
    images = Images(EnvironmentStore(warm_cache))
    return images.system(images.pulled("debian:12"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each of its accelerators."""
    itself = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "accelerator" not in metafunc.fixturenames or "accelerator" in itself:
        return
    mark = metafunc.definition.get_closest_marker("accelerators")
    names = list(mark.args if mark else ("uml",))
    if given := os.environ.get("PYRO_TEST_ACCELERATOR") or os.environ.get("PYRO_ACCELERATOR"):
        # What is tested on QEMU alone needs templates, or looks at QEMU.
        names = [given] if given != "uml" or "uml" in names else []
    metafunc.parametrize("accelerator", names, indirect=True)


@pytest.fixture(scope="session")
def qemu_accelerator(warm_cache: Path) -> str:
    """KVM where it works, else emulation."""
    try:
        return GuestEngine(warm_cache).accelerator("kvm").name
    except HostNotReady:
        return "tcg"


@pytest.fixture(autouse=True)
def accelerator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The accelerator of the machines that the test and its programs start."""
    name: str = request.getfixturevalue("qemu_accelerator") if request.param == "qemu" else request.param
    monkeypatch.setenv("PYRO_ACCELERATOR", name)
    return name


@pytest.fixture
def template(warm_cache: Path, system: System, accelerator: str) -> GuestEngine:
    """An engine that has prepared what this accelerator needs."""
    engine = GuestEngine(warm_cache)
    engine.prepare(system, Shape(), accelerator=accelerator)
    return engine


@pytest.fixture
def start(template: GuestEngine, system: System) -> Iterator[Callable[..., Vm]]:
    """A function that starts a machine, with the options of `running`; the machines are ended afterwards."""
    with ExitStack() as stack:

        def start(**options: Any) -> Vm:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-")))
            return stack.enter_context(running(template, system, folder, **options))

        yield start


@pytest.fixture
def vm(start: Callable[..., Vm]) -> Vm:
    """A running machine."""
    return start()


class Create(Protocol):
    """A function that makes a workspace with these options of `create_workspace`, and returns its id."""

    def __call__(self, **options: Any) -> str: ...


@pytest.fixture
def create(pyro: Pyro) -> Iterator[Create]:
    """A function that makes workspaces; all workspaces are deleted afterwards."""

    def create(**options: Any) -> str:
        return pyro.create_workspace("debian:12", **options)["workspace_id"]

    yield create
    for one in pyro.list_workspaces()["workspaces"]:
        pyro.delete_workspace(one["workspace_id"])


@pytest.fixture
def workspace(create: Create) -> str:
    """The id of a running workspace."""
    return create()
