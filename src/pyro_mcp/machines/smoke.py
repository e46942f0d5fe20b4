"""Temporary machines that prove that this host works, for `prepare` and `demo`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pyro_mcp.engine import Engine, Shape, requested
from pyro_mcp.errors import GuestFailed
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines.commands import ExecOptions
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.one_shot import OneShotMachines
from pyro_mcp.results import DemoReport, PrepareReport, VmInfo

_Result = TypeVar("_Result")
_TTL_SECONDS = 300
_DEMO_COMMAND = ["sh", "-c", 'echo "Linux $(uname -r) as $(id -un) in $PWD, $(nproc) processor"; date --utc']


def prepare(
    vms: OneShotMachines,
    engine: Engine,
    images: Images,
    environment: str,
    *,
    accelerator: str | None,
    progress: Progress,
) -> PrepareReport:
    """Make `environment` warm, then create, exec, reset and delete a machine of it."""
    requested(accelerator)
    image = images.pulled(environment, progress)
    made = engine.prepare(images.system(image), Shape(), progress, requested(accelerator))
    progress("proving it with a throw-away machine", None)
    started = time.monotonic()
    vm_id = _created(vms, environment, accelerator, progress)["vm_id"]
    try:
        vms.start(vm_id, progress)
        create_ms = round((time.monotonic() - started) * 1000, 1)
        _, exec_ms = _timed(lambda: _succeed(vms, vm_id))
        _, reset_ms = _timed(lambda: vms.reset(vm_id, progress))
        _succeed(vms, vm_id)
    finally:
        _, delete_ms = _timed(lambda: vms.delete(vm_id))
    return {
        "environment": environment,
        "environment_version": image.version,
        "outcome": "reused" if made.reused else "prepared",
        "execution_mode": engine.execution_mode,
        "accelerator": made.accelerator,
        "cold_boot_ms": round(made.cold_boot_ms, 1),
        "create_ms": create_ms,
        "exec_ms": exec_ms,
        "reset_ms": reset_ms,
        "delete_ms": delete_ms,
    }


def demo(vms: OneShotMachines, environment: str, *, accelerator: str | None, progress: Progress) -> DemoReport:
    """Create, start, run, and delete one machine; return the times."""
    created, create_ms = _timed(lambda: _created(vms, environment, accelerator, progress))
    vm_id = created["vm_id"]
    try:
        _, start_ms = _timed(lambda: vms.start(vm_id, progress))
        done, exec_ms = _timed(lambda: vms.run(vm_id, _DEMO_COMMAND, ExecOptions()))
    finally:
        _, delete_ms = _timed(lambda: vms.delete(vm_id))
    return {
        "environment": environment,
        "execution_mode": done["execution_mode"],
        "accelerator": done["accelerator"],
        "command": _DEMO_COMMAND,
        "stdout": done["stdout"],
        "exit_code": done["exit_code"],
        "create_ms": create_ms,
        "start_ms": start_ms,
        "exec_ms": exec_ms,
        "delete_ms": delete_ms,
    }


def _created(vms: OneShotMachines, environment: str, accelerator: str | None, progress: Progress) -> VmInfo:
    return vms.create(
        environment,
        Shape(),
        ttl_seconds=_TTL_SECONDS,
        allow_host_compat=False,
        accelerator=accelerator,
        progress=progress,
    )


def _succeed(vms: OneShotMachines, vm_id: str) -> None:
    done = vms.run(vm_id, ["true"], ExecOptions())
    if done["exit_code"] != 0:
        raise GuestFailed(f"'true' ended with {done['exit_code']} in a machine of {done['environment']}")


def _timed(step: Callable[[], _Result]) -> tuple[_Result, float]:
    """Return the result of `step` and the milliseconds it took."""
    started = time.monotonic()
    result = step()
    return result, round((time.monotonic() - started) * 1000, 1)
