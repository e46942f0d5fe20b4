from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.host_compat import HostCompat
from pyro_mcp.engine.interface import Engine, Shape, System
from pyro_mcp.environments import RootImage
from pyro_mcp.host.files import state_home
from pyro_mcp.machines.folders import Folders
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.machine_store import MachineRecord, MachineStore
from pyro_mcp.machines.phases import GUEST, HOST_COMPAT
from pyro_mcp.workspaces.recovery import Recovery
from pyro_mcp.workspaces.workspace_store import WorkspaceStore

IMAGE = RootImage("debian:12", "1", Path("/images/root"), "sha256:root", 1, {"FROM": "image"})


def system_for(image: RootImage) -> System:
    return System(Path("/images/vmlinuz"), "sha256:kernel", (), image.path, image.digest)


def lifecycle_with(engine: Engine) -> Lifecycle:
    """A lifecycle below the XDG folders whose guests are those of `engine`."""
    engines: dict[str, Engine] = {GUEST: engine, HOST_COMPAT: HostCompat()}
    store = MachineStore(state_home() / "pyro.db")
    return Lifecycle(store, Folders(state_home()), engines.__getitem__, system_for)


def create(lifecycle: Lifecycle, *, ttl_seconds: float = 600.0) -> MachineRecord:
    with lifecycle.reserve_id("vm") as id_:
        return lifecycle.create(id_, "debian:12", "1", Shape(), ttl_seconds=ttl_seconds, allow_host_compat=False)


def repair(lifecycle: Lifecycle, *, reap: bool = True) -> list[str]:
    """What a repair deletes."""
    return Recovery(lifecycle, WorkspaceStore(lifecycle.store)).repair(reap=reap).deleted


def start(lifecycle: Lifecycle, *, ttl_seconds: float = 600.0) -> MachineRecord:
    with lifecycle.lock_exclusive(create(lifecycle, ttl_seconds=ttl_seconds).id) as record:
        return lifecycle.start(record, IMAGE, GUEST)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def lifecycle(home: Path, engine: FakeEngine) -> Lifecycle:
    assert home.exists()
    return lifecycle_with(engine)
