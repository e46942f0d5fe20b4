"""One-shot machines: create, start, one command, gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pyro_mcp.engine import Outcome, Shape, requested
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import EnvironmentFailed, GuestFailed, HostNotReady, InvalidRequest
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.progress import Progress
from pyro_mcp.machines.commands import EMULATED_TIMEOUT_SECONDS, ExecOptions, command_end, shell_words
from pyro_mcp.machines.guest_mirrors import check_mirrors
from pyro_mcp.machines.images import Images
from pyro_mcp.machines.lifecycle import Lifecycle, require_time_left
from pyro_mcp.machines.machine_store import MachineRecord
from pyro_mcp.machines.network_policy import NO_NETWORK, NetworkPolicy
from pyro_mcp.machines.networks import network_environ
from pyro_mcp.machines.phases import GUEST, HOST_COMPAT, Phase, require_phase
from pyro_mcp.results import VmDeleted, VmExecResult, VmInfo, VmNetworkInfo

NO_GUEST = (HostNotReady, EnvironmentFailed, GuestFailed)
"""The errors of a host that cannot run a guest, as opposed to a wrong request."""
_LEEWAY_SECONDS = 30.0
_START_FIRST = "a machine takes commands once start_vm has started it"
MAX_TTL_SECONDS = 30 * 24 * 3600


class OneShotMachines:
    """The one-shot machines of one state folder."""

    def __init__(self, lifecycle: Lifecycle, images: Images) -> None:
        self._lifecycle = lifecycle
        self._images = images

    def create(
        self,
        environment: str,
        shape: Shape,
        *,
        ttl_seconds: float,
        allow_host_compat: bool,
        network: NetworkPolicy = NO_NETWORK,
        accelerator: str | None = None,
        progress: Progress,
    ) -> VmInfo:
        check_ttl(ttl_seconds)
        with self._created(
            environment,
            shape,
            ttl_seconds=ttl_seconds,
            allow_host_compat=allow_host_compat,
            network=network,
            accelerator=accelerator,
            progress=progress,
        ) as record:
            return info(record)

    def run_once(
        self,
        environment: str,
        shape: Shape,
        command: str | Sequence[str],
        options: ExecOptions,
        *,
        ttl_seconds: float,
        allow_host_compat: bool,
        network: NetworkPolicy = NO_NETWORK,
        accelerator: str | None = None,
        progress: Progress,
    ) -> VmExecResult:
        """Create, start, run and delete under one lock; if this process dies, a repair removes the machine."""
        check_ttl(ttl_seconds)
        with self._created(
            environment,
            shape,
            ttl_seconds=max(ttl_seconds, (options.timeout_seconds or EMULATED_TIMEOUT_SECONDS) + _LEEWAY_SECONDS),
            allow_host_compat=allow_host_compat,
            one_shot=True,
            network=network,
            accelerator=accelerator,
            progress=progress,
        ) as record:
            return self._run_and_delete(self._start(record, progress, final_phase=Phase.EXECUTING), command, options)

    def start(self, vm_id: str, progress: Progress) -> VmInfo:
        _require_vm(vm_id)
        with self._lifecycle.lock_exclusive(vm_id) as record:
            require_phase(vm_id, record.phase, {Phase.CREATED, Phase.STOPPED})
            require_time_left(record)
            return info(self._start(record, progress))

    def run(self, vm_id: str, command: str | Sequence[str], options: ExecOptions) -> VmExecResult:
        """Run one command in a running machine, which stays."""
        with self._lifecycle.lock_shared(vm_id) as record:
            return self._run(record, command, options)

    def exec(self, vm_id: str, command: str | Sequence[str], options: ExecOptions) -> VmExecResult:
        """Run one command in a running machine, then delete the machine, however the command ended."""
        _require_vm(vm_id)
        with self._lifecycle.lock_exclusive(vm_id) as record:
            require_phase(vm_id, record.phase, {Phase.RUNNING}, hint=_START_FIRST)
            self._lifecycle.store.set_phase(vm_id, Phase.EXECUTING)
            return self._run_and_delete(record, command, options)

    def stop(self, vm_id: str) -> VmInfo:
        _require_vm(vm_id)
        with self._lifecycle.lock_turnstile(vm_id) as record:
            return info(self._lifecycle.stop(record))

    def delete(self, vm_id: str) -> VmDeleted:
        _require_vm(vm_id)
        self._lifecycle.force_delete(vm_id)
        return {"vm_id": vm_id, "deleted": True}

    def status(self, vm_id: str) -> VmInfo:
        _require_vm(vm_id)
        return info(self._lifecycle.current_record(vm_id))

    def network_info(self, vm_id: str) -> VmNetworkInfo:
        _require_vm(vm_id)
        network = self._lifecycle.current_record(vm_id).network
        return {"vm_id": vm_id, "network": network.on, "policy": network.policy}

    def reset(self, vm_id: str, progress: Progress) -> VmInfo:
        _require_vm(vm_id)
        with self._lifecycle.lock_turnstile(vm_id) as record:
            return info(self._lifecycle.reset(record, self._images.installed(record.environment), (), progress))

    @contextmanager
    def _created(
        self,
        environment: str,
        shape: Shape,
        *,
        ttl_seconds: float,
        allow_host_compat: bool,
        one_shot: bool = False,
        network: NetworkPolicy,
        accelerator: str | None,
        progress: Progress,
    ) -> Iterator[MachineRecord]:
        """Register a new machine, which stays locked for the block and is removed when the block fails."""
        check_mirrors(network)
        requested(accelerator)
        image = image_for(self._images, environment, progress, allow_host_compat=allow_host_compat)
        with self._lifecycle.reserve_id("vm") as vm_id:
            yield self._lifecycle.create(
                vm_id,
                environment,
                image.version if image else "",
                shape,
                ttl_seconds=ttl_seconds,
                allow_host_compat=allow_host_compat,
                one_shot=one_shot,
                network=network,
                accelerator=accelerator,
            )

    def _run_and_delete(
        self, record: MachineRecord, command: str | Sequence[str], options: ExecOptions
    ) -> VmExecResult:
        try:
            with self._lifecycle.explain_guest_gone(record):
                result = self._run(record, command, options)
        finally:
            self._lifecycle.delete(record)
        return result | {"cleanup": {"deleted": True, "reason": "a one-shot machine ends with its command"}}

    def _run(self, record: MachineRecord, command: str | Sequence[str], options: ExecOptions) -> VmExecResult:
        wanted = options.command(
            shell_words(command),
            self._images.environ(record.environment) | network_environ(record.network),
            accelerator=record.accelerator,
        )
        with self._lifecycle.connect(record, long_running=True) as connection:
            return exec_result(record, command, connection.run(wanted), options)

    def _start(self, record: MachineRecord, progress: Progress, final_phase: Phase = Phase.RUNNING) -> MachineRecord:
        if record.execution_mode == HOST_COMPAT:
            return self._lifecycle.start(record, None, HOST_COMPAT, progress, final_phase=final_phase)
        image = self._images.build_of(record) or self._images.installed(record.environment)
        if image is not None:
            try:
                return self._lifecycle.start(record, image, GUEST, progress, final_phase=final_phase)
            except NO_GUEST:
                if not record.allow_host_compat:
                    raise
                record = self._lifecycle.store.get(record.id)
        elif not record.allow_host_compat:
            raise EnvironmentFailed(
                f"{record.environment} is not installed any more",
                hint=Hint("{} installs it again", Verb("env pull", environment=record.environment)),
            )
        return self._lifecycle.start(record, None, HOST_COMPAT, progress, final_phase=final_phase)


def image_for(images: Images, environment: str, progress: Progress, *, allow_host_compat: bool) -> RootImage | None:
    """Return the environment's image; None where there can be none and `allow_host_compat` is set."""
    try:
        return images.pulled(environment, progress)
    except NO_GUEST as error:
        if allow_host_compat:
            return None
        remedy = Hint.joined(
            Hint("{} shows what this host lacks", Verb("doctor")),
            Hint("{} runs commands without a guest", Argument("allow_host_compat", True)),
        )
        raise type(error)(error.message, hint=Hint.joined(error.hint, remedy, separator="\n")) from error


def _require_vm(id_: str) -> None:
    """Raise `InvalidRequest` for a workspace: what ends a one-shot machine must not end one by mistake."""
    if id_.startswith("ws-"):
        raise InvalidRequest(f"{id_} is a workspace, not a one-shot machine", hint="use the verbs for workspaces")


def check_ttl(seconds: float) -> None:
    """Raise `InvalidRequest` unless a machine may live so long."""
    if not isinstance(seconds, int | float) or not 1 <= seconds <= MAX_TTL_SECONDS:
        raise InvalidRequest(f"ttl_seconds is from 1 to {MAX_TTL_SECONDS} (30 days), not {seconds}")


def info(record: MachineRecord) -> VmInfo:
    """Return the result that describes a machine."""
    return {
        "vm_id": record.id,
        "environment": record.environment,
        "environment_version": record.environment_version,
        "state": record.phase.value,
        "vcpu_count": record.vcpu_count,
        "mem_mib": record.mem_mib,
        "network": record.network.on,
        "allow_host_compat": record.allow_host_compat,
        "execution_mode": record.execution_mode,
        "accelerator": record.accelerator,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "failure": record.failure,
    }


def exec_result(
    record: MachineRecord, command: str | Sequence[str], outcome: Outcome, options: ExecOptions
) -> VmExecResult:
    """Return the result of a finished command."""
    return {
        "vm_id": record.id,
        "environment": record.environment,
        "environment_version": record.environment_version,
        "command": command if isinstance(command, str) else list(command),
        **command_end(outcome, record, options),
        "execution_mode": record.execution_mode or "",
        "accelerator": record.accelerator or "",
        "cleanup": {"deleted": False, "reason": ""},
    }
