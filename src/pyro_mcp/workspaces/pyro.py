"""The one core object: every verb of the command line, the SDK and the MCP server is one call on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

from pyro_mcp.engine import OUTPUT_CAP, Engine, HostCompat, Machines, OutputSink, Shape
from pyro_mcp.environments import Environments
from pyro_mcp.host.files import cache_home, private_directory, runtime_home, state_home
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.results import (
    DemoReport,
    DoctorReport,
    EnvironmentDetails,
    EnvironmentList,
    PrepareReport,
    PruneReport,
    ReapReport,
    VmDeleted,
    VmExecResult,
    VmInfo,
    VmNetworkInfo,
)
from pyro_mcp.workspaces.doctor import report
from pyro_mcp.workspaces.images import Images
from pyro_mcp.workspaces.lifecycle import GUEST, HOST_COMPAT, Folders, Lifecycle
from pyro_mcp.workspaces.proof import demo, prepare
from pyro_mcp.workspaces.store import Store
from pyro_mcp.workspaces.vms import ExecOptions, Vms


class Pyro:
    """Disposable machines on this host.

    All state is in files below the XDG cache, state and runtime folders, or `cache` and `state` when given, so any
    number of these objects, in any number of processes, work on the same machines. Results are JSON-ready
    dictionaries, described in `pyro_mcp.results`. Every method raises only `pyro_mcp.errors.PyroError`; `progress` is
    told what long work is doing.
    """

    def __init__(
        self,
        *,
        cache: Path | None = None,
        state: Path | None = None,
        progress: Progress = silent,
        engine: Engine | None = None,
    ) -> None:
        self._cache = private_directory(cache) if cache else cache_home()
        self._state = private_directory(state) if state else state_home()
        self._progress = progress
        self._guests = engine or Machines(self._cache)
        self._environments = Environments(self._cache)
        self._images = Images(self._environments)

    # --- environments ---

    def list_environments(self) -> EnvironmentList:
        """The catalogue, installed or not, and what was pulled from registries."""
        found = self._environments.list()
        return {"count": len(found), "environments": found}

    def pull_environment(self, environment: str) -> EnvironmentDetails:
        """Build or fetch an environment unless it is installed; about 15 s for `debian:12`."""
        self._images.pulled(environment, self._progress)
        return self._environments.inspect(environment)

    def inspect_environment(self, environment: str) -> EnvironmentDetails:
        """All that is known about an environment, installed or not."""
        return self._environments.inspect(environment)

    def prune_environments(self, keep: Collection[str] = ()) -> PruneReport:
        """Remove old versions, leftovers, and every image from a registry that is neither in `keep` nor in use."""
        used = {record.environment for record in self._lifecycle.store.all()}
        return self._environments.prune({*keep, *used})

    # --- the host ---

    def doctor(self, environment: str | None = None) -> DoctorReport:
        """What this host has and lacks; with `environment`, also how soon a machine of it can start."""
        return report(self._guests, self._images, environment)

    def prepare(self, environment: str = "debian:12") -> PrepareReport:
        """Make an environment warm, and prove it with a throw-away create, exec, reset and delete."""
        return prepare(self._vms, self._guests, self._images, environment, self._progress)

    def demo(self, environment: str = "debian:12") -> DemoReport:
        """Create, start, exec and delete one machine, with timings."""
        return demo(self._vms, environment, self._progress)

    # --- one-shot machines ---

    def create_vm(
        self,
        environment: str,
        *,
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        ttl_seconds: float = 600,
        network: bool = False,
        allow_host_compat: bool = False,
    ) -> VmInfo:
        """Register a machine; nothing runs yet. It is gone `ttl_seconds` from now in any case."""
        return self._vms.create(
            environment,
            Shape(vcpu_count, mem_mib),
            ttl_seconds=ttl_seconds,
            network=network,
            allow_host_compat=allow_host_compat,
            progress=self._progress,
        )

    def start_vm(self, vm_id: str) -> VmInfo:
        """Start a created machine: a fraction of a second when its environment is warm."""
        return self._vms.start(vm_id, self._progress)

    def exec_vm(
        self,
        vm_id: str,
        *,
        command: str | Sequence[str],
        timeout_seconds: float = 30,
        stdin: bytes | IO[bytes] | None = None,
        output_cap: int = OUTPUT_CAP,
        on_stdout: OutputSink | None = None,
        on_stderr: OutputSink | None = None,
    ) -> VmExecResult:
        """Run one command, then delete the machine.

        A string is a line for `/bin/sh`, a list is the argv itself. It runs as root in /workspace. `stdin` is given
        whole or as an open binary file; `on_stdout` and `on_stderr` get the output as it comes, all of it; the result
        holds the first `output_cap` bytes of each.
        """
        options = ExecOptions(timeout_seconds, stdin, output_cap, on_stdout, on_stderr)
        return self._vms.exec(vm_id, command, options)

    def stop_vm(self, vm_id: str) -> VmInfo:
        """Flush and end a running machine; `start_vm` starts it again with the same disk."""
        return self._vms.stop(vm_id)

    def delete_vm(self, vm_id: str) -> VmDeleted:
        """End a machine and remove all it owned."""
        return self._vms.delete(vm_id)

    def status_vm(self, vm_id: str) -> VmInfo:
        """The machine as it is now."""
        return self._vms.status(vm_id)

    def network_info_vm(self, vm_id: str) -> VmNetworkInfo:
        """The machine's network: none."""
        return self._vms.network_info(vm_id)

    def reap_expired(self) -> ReapReport:
        """Delete machines whose time is over, and whatever dead processes have left behind."""
        return self._vms.reap()

    def run_in_vm(
        self,
        environment: str,
        *,
        command: str | Sequence[str],
        vcpu_count: int = 1,
        mem_mib: int = 1024,
        timeout_seconds: float = 30,
        ttl_seconds: float = 600,
        network: bool = False,
        allow_host_compat: bool = False,
        stdin: bytes | IO[bytes] | None = None,
        output_cap: int = OUTPUT_CAP,
        on_stdout: OutputSink | None = None,
        on_stderr: OutputSink | None = None,
    ) -> VmExecResult:
        """Create, start, exec and delete in one call; the arguments are those of `create_vm` and `exec_vm`."""
        options = ExecOptions(timeout_seconds, stdin, output_cap, on_stdout, on_stderr)
        created = self.create_vm(
            environment,
            vcpu_count=vcpu_count,
            mem_mib=mem_mib,
            ttl_seconds=max(ttl_seconds, timeout_seconds + 30),
            network=network,
            allow_host_compat=allow_host_compat,
        )
        try:
            self.start_vm(created["vm_id"])
            return self._vms.exec(created["vm_id"], command, options)
        finally:
            self._vms.discard(created["vm_id"])

    # --- how it is put together ---

    @cached_property
    def _lifecycle(self) -> Lifecycle:
        engines: dict[str, Engine] = {GUEST: self._guests, HOST_COMPAT: HostCompat()}
        folders = Folders(self._state, runtime_home())
        store = Store(self._state / "pyro.db")
        return Lifecycle(store, folders, engines.__getitem__, self._images.system)

    @cached_property
    def _vms(self) -> Vms:
        return Vms(self._lifecycle, self._images)
