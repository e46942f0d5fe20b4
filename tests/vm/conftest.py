"""A ladder of fixtures: the files of a system → its warm template → a running machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pyro_mcp.engine.interface import Shape, System
from pyro_mcp.engine.qemu.machines import QemuEngine
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.machines.images import Images
from tests.vm.machine import Vm, running


@pytest.fixture(scope="session")
def system(warm_cache: Path) -> System:
    """What a machine of `debian:12` boots from."""
    images = Images(EnvironmentStore(warm_cache))
    return images.system(images.pulled("debian:12"))


@pytest.fixture(scope="session")
def template(warm_cache: Path, system: System) -> QemuEngine:
    """An engine whose template is warm."""
    machines = QemuEngine(warm_cache)
    machines.prepare(system, Shape())
    return machines


@pytest.fixture
def start(template: QemuEngine, system: System) -> Iterator[Callable[..., Vm]]:
    """Starts machines, with more arguments for `running`; they are ended afterwards."""
    with ExitStack() as stack:

        def start(**options: Any) -> Vm:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pyro-vm-", dir="/tmp")))
            return stack.enter_context(running(template, system, folder, **options))

        yield start


@pytest.fixture
def vm(start: Callable[..., Vm]) -> Vm:
    """A running machine."""
    return start()
