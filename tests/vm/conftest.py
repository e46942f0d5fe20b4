"""Fixtures that build on each other: the files of a system → its prepared template → a running machine."""

from __future__ import annotations

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
from pyro_mcp.machines.images import Images
from tests.vm.running_vm import Vm, running


@pytest.fixture(scope="session")
def system(warm_cache: Path) -> System:
    """The kernel and the image that a machine of `debian:12` boots from."""
    images = Images(EnvironmentStore(warm_cache))
    return images.system(images.pulled("debian:12"))


@pytest.fixture(scope="session")
def template(warm_cache: Path, system: System) -> GuestEngine:
    """An engine whose template is prepared, for the accelerator of `PYRO_ACCELERATOR`."""
    engine = GuestEngine(warm_cache)
    engine.prepare(system, Shape())
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
