"""One-shot machines over a fake engine: what is run where, and what is left."""

from __future__ import annotations

import pytest

from pyro_mcp.engine.fake import FakeEngine, outcome
from pyro_mcp.engine.interface import Command, Outcome, Shape, System
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    EnvironmentFailed,
    GuestFailed,
    HostNotReady,
    InvalidRequest,
    NotFound,
    PyroError,
)
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.machines.commands import ExecOptions
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.one_shot import OneShotMachines
from pyro_mcp.results import VmInfo
from tests.machines.conftest import IMAGE, repair, system_for


class OneImage(Images):
    """Images of which there is one, or none when `error` says why."""

    def __init__(self) -> None:
        self.image: RootImage | None = IMAGE
        self.error: PyroError | None = None

    def pulled(self, name: str, progress: Progress = silent) -> RootImage:
        if self.error is not None:
            raise self.error
        assert self.image is not None
        return self.image

    def build_of(self, record: MachineRecord) -> RootImage | None:
        return None

    def installed(self, name: str) -> RootImage | None:
        return self.image

    def system(self, image: RootImage) -> System:
        return system_for(image)

    def environ(self, name: str) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def images() -> OneImage:
    return OneImage()


@pytest.fixture
def vms(lifecycle: Lifecycle, images: OneImage) -> OneShotMachines:
    return OneShotMachines(lifecycle, images)


def create(vms: OneShotMachines, *, ttl_seconds: float = 600, allow_host_compat: bool = False) -> VmInfo:
    return vms.create(
        "debian:12",
        Shape(),
        ttl_seconds=ttl_seconds,
        allow_host_compat=allow_host_compat,
        progress=silent,
    )


def start(vms: OneShotMachines, *, allow_host_compat: bool = False) -> VmInfo:
    return vms.start(create(vms, allow_host_compat=allow_host_compat)["vm_id"], silent)


def machines_left(lifecycle: Lifecycle, engine: FakeEngine) -> int:
    return len(lifecycle.store.all()) + len(engine.running)


def test_a_command_runs_once_and_the_machine_is_gone(
    vms: OneShotMachines, lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    engine.answer = lambda _: outcome(3, b"out\xff", b"err")
    vm_id = start(vms)["vm_id"]
    result = vms.exec(vm_id, ["program", "argument"], ExecOptions())
    assert (result["exit_code"], result["stdout"], result["stderr"]) == (3, "out�", "err")
    assert (result["execution_mode"], result["accelerator"]) == ("guest_virtio", "tcg")
    assert result["cleanup"]["deleted"]
    assert machines_left(lifecycle, engine) == 0
    with pytest.raises(NotFound):
        vms.exec(vm_id, "true", ExecOptions())


def test_a_string_is_for_the_shell_and_a_list_is_the_argv(vms: OneShotMachines, engine: FakeEngine) -> None:
    vm_id = start(vms)["vm_id"]
    vms.run(vm_id, "echo $HOME", ExecOptions())
    vms.run(vm_id, ["echo", "$HOME"], ExecOptions())
    assert [command.argv for command in engine.commands] == [["/bin/sh", "-c", "echo $HOME"], ["echo", "$HOME"]]
    assert engine.commands[0].cwd == "/workspace"


def test_the_machine_is_deleted_however_its_command_ended(
    vms: OneShotMachines, lifecycle: Lifecycle, engine: FakeEngine
) -> None:
    for error in (GuestFailed("broken"), DeadlineExceeded("late")):
        vm_id = start(vms)["vm_id"]
        engine.failures["run"] = error
        with pytest.raises(type(error)):
            vms.exec(vm_id, "true", ExecOptions())
        engine.failures.clear()
    vm_id = start(vms)["vm_id"]
    with pytest.raises(InvalidRequest):
        vms.exec(vm_id, [], ExecOptions())
    assert machines_left(lifecycle, engine) == 0


def test_the_output_cap_and_callbacks_reach_the_engine(vms: OneShotMachines, engine: FakeEngine) -> None:
    engine.answer = lambda _: outcome(0, b"0123456789")
    seen: list[bytes] = []
    result = vms.exec(start(vms)["vm_id"], "x", ExecOptions(output_cap=4, on_stdout=seen.append))
    assert (result["stdout"], result["stdout_bytes"], result["truncated"]) == ("0123", 10, True)
    assert seen == [b"0123456789"]


def test_a_machine_takes_commands_only_once_it_is_started(vms: OneShotMachines, engine: FakeEngine) -> None:
    vm_id = create(vms)["vm_id"]
    with pytest.raises(Conflict, match="is created") as raised:
        vms.exec(vm_id, "true", ExecOptions())
    assert "start_vm" in raised.value.hint
    assert vms.status(vm_id)["state"] == "created"
    assert engine.commands == []


@pytest.mark.parametrize(
    "error", [HostNotReady("no QEMU", hint="install it"), EnvironmentFailed("no image"), GuestFailed("no boot")]
)
def test_where_no_guest_can_run_nothing_runs_unless_it_was_allowed(
    vms: OneShotMachines, engine: FakeEngine, error: PyroError
) -> None:
    engine.failures["start"] = error
    vm_id = create(vms)["vm_id"]
    with pytest.raises(type(error)):
        vms.start(vm_id, silent)
    assert (vms.status(vm_id)["state"], vms.status(vm_id)["failure"]) == ("failed", error.message)

    allowed = start(vms, allow_host_compat=True)
    assert (allowed["state"], allowed["execution_mode"], allowed["accelerator"]) == ("running", "host_compat", "none")
    result = vms.exec(allowed["vm_id"], "echo from the host", ExecOptions())
    assert (result["stdout"], result["execution_mode"]) == ("from the host\n", "host_compat")
    assert engine.commands == []


@pytest.mark.parametrize("error", [Busy("in use"), InvalidRequest("wrong")])
def test_what_was_asked_for_wrongly_is_no_reason_to_run_on_the_host(
    vms: OneShotMachines, engine: FakeEngine, error: PyroError
) -> None:
    engine.failures["start"] = error
    with pytest.raises(type(error)):
        start(vms, allow_host_compat=True)


def test_without_an_image_a_machine_is_not_even_created_unless_host_compat_is_allowed(
    vms: OneShotMachines, images: OneImage, lifecycle: Lifecycle
) -> None:
    images.error, images.image = EnvironmentFailed("no mirror", hint="look at the network"), None
    with pytest.raises(EnvironmentFailed, match="no mirror") as raised:
        create(vms)
    assert "look at the network" in raised.value.hint
    assert "allow_host_compat=True" in raised.value.hint
    assert lifecycle.store.all() == []
    assert start(vms, allow_host_compat=True)["execution_mode"] == "host_compat"


def test_an_image_that_went_away_is_no_permission_to_run_on_the_host(vms: OneShotMachines, images: OneImage) -> None:
    vm_id = create(vms)["vm_id"]
    images.image = None
    with pytest.raises(EnvironmentFailed, match="not installed any more") as raised:
        vms.start(vm_id, silent)
    assert "pull_environment('debian:12')" in raised.value.hint
    assert vms.status(vm_id)["execution_mode"] is None


def test_deleting_a_host_compat_machine_removes_its_workspace(
    vms: OneShotMachines, engine: FakeEngine, lifecycle: Lifecycle
) -> None:
    engine.failures["start"] = GuestFailed("no boot")
    vm_id = start(vms, allow_host_compat=True)["vm_id"]
    vms.run(vm_id, "touch file", ExecOptions())
    home = lifecycle.folders.home(vm_id)
    assert list(home.rglob("file")) == [home / "workspace/file"]
    vms.delete(vm_id)
    assert not home.exists()
    assert not lifecycle.folders.sockets(vm_id).exists()


@pytest.mark.parametrize("ttl_seconds", [0, 0.5, 30 * 24 * 3600 + 1, float("nan"), float("inf")])
def test_a_life_too_short_or_too_long_is_refused(
    vms: OneShotMachines, ttl_seconds: float, lifecycle: Lifecycle
) -> None:
    with pytest.raises(InvalidRequest, match="ttl_seconds"):
        create(vms, ttl_seconds=ttl_seconds)
    assert lifecycle.store.all() == []


@pytest.mark.parametrize("timeout_seconds", [0, -1, 24 * 3600 + 1, float("nan"), float("inf")])
def test_a_time_limit_too_short_or_too_long_is_refused(timeout_seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="timeout_seconds"):
        ExecOptions(timeout_seconds=timeout_seconds)


def test_a_repair_tells_which_machines_are_gone(vms: OneShotMachines, lifecycle: Lifecycle, engine: FakeEngine) -> None:
    vm_id = create(vms, ttl_seconds=1)["vm_id"]
    assert repair(lifecycle) == []
    lifecycle.store.set_phase(vm_id, lifecycle.store.get(vm_id).phase.STARTING, expires_at=0.0, boot_id=None)
    assert repair(lifecycle) == [vm_id]
    assert machines_left(lifecycle, engine) == 0


def test_a_command_can_look_at_its_own_machine(vms: OneShotMachines, engine: FakeEngine) -> None:
    states: list[str] = []
    vm_id = start(vms)["vm_id"]

    def answer(_: Command) -> Outcome:
        states.append(vms.status(vm_id)["state"])
        return outcome()

    engine.answer = answer
    vms.exec(vm_id, "true", ExecOptions())
    assert states == ["executing"]
