"""Create, start, stop, reset and delete machines; the process may die after each step."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from pyro_mcp.engine import MOST_LAYERS, Connection, Engine, Shape, Started, StartRequest, requested
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import Conflict, GuestFailed, GuestGone, NoSpace, NotFound, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.machines.lifetimes import expiry_in
from pyro_mcp.machines.locked_machines import LockedMachines, more_time_hint
from pyro_mcp.machines.machine_store import NO_PROCESS, MachineRecord
from pyro_mcp.machines.network_policy import NO_NETWORK, NetworkPolicy
from pyro_mcp.machines.networks import attach_gateway, network_files, start_gateway, wait_for_gateway_end
from pyro_mcp.machines.phases import GUEST, HOST_COMPAT, Phase, require_phase
from pyro_mcp.machines.secrets import Secrets
from pyro_mcp.machines.spares import Order

# So long a machine that is to be killed may flush its disk.
_BRIEFLY = 1.0


def new_layer_name() -> str:
    """Return a new name for a layer; QEMU needs a letter first."""
    return f"l{secrets.token_hex(6)}"


class Lifecycle(LockedMachines):
    """Moves machines between phases."""

    def create(
        self,
        id_: str,
        environment: str,
        version: str,
        shape: Shape,
        *,
        ttl_seconds: float,
        allow_host_compat: bool,
        layers: tuple[str, ...] = ("l0",),
        generation: int = 0,
        baseline: bool | None = None,
        one_shot: bool = False,
        network: NetworkPolicy = NO_NETWORK,
        accelerator: str | None = None,
    ) -> MachineRecord:
        """Register a new machine; nothing runs yet. All its starts request the same accelerator."""
        record = MachineRecord(
            id=id_,
            environment=environment,
            environment_version=version,
            vcpu_count=shape.vcpu_count,
            mem_mib=shape.mem_mib,
            allow_host_compat=allow_host_compat,
            phase=Phase.CREATED,
            created_at=time.time(),
            **expiry_in(ttl_seconds),
            layers=layers,
            generation=generation,
            baseline=baseline,
            one_shot=one_shot,
            network_policy=network.policy,
            allow_hosts=network.allow_hosts,
            trust_host_ca=network.trust_host_ca,
            host_mirrors=network.host_mirrors,
            supervisor=None if network.supervisor is None else str(network.supervisor),
            requested_accelerator=requested(accelerator),
        )
        self.store.add(record)
        return record

    def set_lifetime(self, record: MachineRecord, seconds: float) -> None:
        """Set how many seconds from now the processes of a machine end."""
        self.engine_of(record).set_lifetime(self.folders.home(record.id), seconds)

    def connect(
        self, record: MachineRecord, *, deadline_seconds: float = 10.0, long_running: bool = False
    ) -> AbstractContextManager[Connection]:
        """Connect to a running machine, for short work unless the connection is `long_running`.

        Raises `Busy` when no connection is free until the deadline.
        """
        sockets = self.folders.sockets(record.id)
        engine = self.engine_of(record)
        return self._with_panic(
            record, engine.connect(sockets, deadline_seconds=deadline_seconds, long_running=long_running)
        )

    @contextmanager
    def _with_panic(
        self, record: MachineRecord, connecting: AbstractContextManager[Connection]
    ) -> Iterator[Connection]:
        """Connect; if the machine ends meanwhile because its kernel panicked, add the reason to the error."""
        try:
            with connecting as connection:
                yield connection
        except GuestGone as error:
            panic = self.panic(record, record.identity) if record.identity else ""
            if not panic:
                raise
            raise GuestGone(f"{error.message}: its kernel panicked: {panic}", hint=error.hint) from error

    def start(
        self,
        record: MachineRecord,
        image: RootImage | None,
        mode: str,
        progress: Progress = silent,
        *,
        final_phase: Phase = Phase.RUNNING,
        in_transaction: Callable[[sqlite3.Connection], None] | None = None,
        baseline: Path | None = None,
        output: Path | None = None,
    ) -> MachineRecord:
        """Start a machine that is locked; on failure nothing runs and its phase says so.

        The store takes over the layers and generation of `record` only when the machine runs, in one transaction with
        what `in_transaction` does. A new machine takes over `baseline`, the EROFS image that its /workspace begins
        with; it is renamed. Raises `Conflict` when the disk was made on another image than `image`.
        """
        if image is not None and record.root_digest not in (None, image.digest):
            raise Conflict(
                f"{record.id} was made with another build of {record.environment} than is installed now",
                hint=Hint("{} uses the new build; it keeps only snapshots of /workspace", Verb("workspace reset")),
            )
        home = private_directory(self.folders.home(record.id))
        if baseline is not None:
            record = replace(record, baseline=True)
            baseline.rename(self.folders.baseline(record.id))
        engine = self.engine_for(mode)
        self.store.set_phase(record.id, Phase.STARTING, execution_mode=mode, failure=None)
        started = None
        with self.failing(record.id, lambda: started.identity if started else None):
            known = Secrets(home)
            request = self._request(record, image, known, output)
            with start_gateway(record, self.folders, known) if mode == GUEST else nullcontext() as gateway:
                if gateway:
                    request = replace(request, tap=gateway.tap)
                started = self._start(engine, request, record, image, progress)
                if gateway:
                    attach_gateway(gateway, record, self.folders, engine, known)
            return self.store.set_phase(
                record.id,
                final_phase,
                in_transaction,
                accelerator=started.accelerator,
                pid=started.identity.pid,
                process_start_time=started.identity.start_time,
                layers=record.layers,
                generation=record.generation,
                baseline=record.baseline,
                root_digest=image.digest if image else None,
                environment_version=record.environment_version,
            )

    def stop(self, record: MachineRecord, progress: Progress = silent, *, force: bool = False) -> MachineRecord:
        """Flush and end a machine whose turnstile is locked, and all commands in it; a stopped one stays stopped.

        When its disk cannot be flushed it raises, and the machine runs on. With `force` it ends all the same.
        """
        if not self.is_running(record):
            with self.lock_drained(record.id) as settled:
                if settled.phase != Phase.STOPPED:
                    require_phase(record.id, settled.phase, {Phase.RUNNING})
                return settled
        assert record.identity is not None
        if force:
            return self._kill(record)
        sockets, engine = self.folders.sockets(record.id), self.engine_of(record)
        with wait_for_gateway_end(sockets):
            engine.power_off(
                record.identity, sockets, lambda: self.store.set_phase(record.id, Phase.STOPPING), progress
            )
        return self.store.set_phase(record.id, Phase.STOPPED, **NO_PROCESS)

    def _kill(self, record: MachineRecord) -> MachineRecord:
        """Kill a running machine and all commands in it; a guest that answers within 1 s flushes its disk first."""
        with suppress(PyroError), self.connect(record, deadline_seconds=_BRIEFLY) as connection:
            connection.flush(deadline_seconds=_BRIEFLY)
        self.store.set_phase(record.id, Phase.STOPPING)
        with self.failing(record.id, lambda: record.identity):
            self.clear(record.id, record.identity)
            return self.store.set_phase(record.id, Phase.STOPPED, **NO_PROCESS)

    def reset(
        self,
        record: MachineRecord,
        image: RootImage | None,
        layers: Sequence[str],
        progress: Progress = silent,
        in_transaction: Callable[[sqlite3.Connection], None] | None = None,
        *,
        generation: int | None = None,
    ) -> MachineRecord:
        """Restart a machine whose turnstile is locked: /workspace from `layers`, / from the current environment.

        With a `generation` / is what the layers hold under that number, or the environment's own when they hold none.
        What runs in it ends. Until it runs anew, its disk is what it was: a reset that fails, or dies, loses nothing.
        """
        if record.execution_mode == HOST_COMPAT:
            raise Conflict("a host_compat machine has no disk that could be reset", hint="delete it and make another")
        if self.is_running(record):
            self._kill(record)
        with self.lock_drained(record.id) as settled:
            require_phase(record.id, settled.phase, {Phase.STOPPED, Phase.FAILED})
            wanted = replace(
                settled,
                layers=(*layers, new_layer_name()),
                generation=settled.generation + 1 if generation is None else generation,
                root_digest=None,
                environment_version=image.version if image else settled.environment_version,
            )
            return self.start(wanted, image, settled.execution_mode or GUEST, progress, in_transaction=in_transaction)

    def freeze_layers(self, record: MachineRecord) -> tuple[str, ...]:
        """Put a new layer on the disk of a locked machine; return the layers that will not change any more."""
        require_phase(record.id, record.phase, {Phase.RUNNING, Phase.STOPPED}, hint="start it first")
        engine, home = self.engine_of(record), self.folders.home(record.id)
        if record.phase == Phase.STOPPED and engine.is_layer_empty(home, record.layers[-1]):
            return record.layers[:-1]
        running, sockets = record.phase == Phase.RUNNING, self.folders.sockets(record.id)
        if running and len(record.layers) >= MOST_LAYERS:
            engine.merge_layers(home, sockets, record.layers)
        fresh = new_layer_name()
        engine.add_layer(home, fresh)
        # Recorded before it is used: a layer that never comes into use is empty and does no harm below others.
        self.store.set_phase(record.id, record.phase, layers=(*record.layers, fresh))
        if not running:
            return record.layers
        frozen = engine.switch_layer(home, sockets, record.layers, fresh)
        self.store.set_phase(record.id, record.phase, layers=(*frozen, fresh))
        return frozen

    def delete(self, record: MachineRecord) -> None:
        """Remove a locked machine and all it owned."""
        self._begin_deletion(record.id)
        self.remove(record.id, record.identity)

    def force_delete(self, id_: str) -> None:
        """Delete a machine even while it is used: commands in the guest end, and their callers get `Conflict`."""
        try:
            record = self.store.refreshed(id_)
        except NoSpace:
            record = self.store.get(id_)
        with suppress(NotFound):  # another process, such as one that reaps, may finish it first
            if record.phase in {Phase.RUNNING, Phase.EXECUTING} and record.identity is not None:
                self._begin_deletion(id_)
                self.clear(id_, record.identity)
            with self.lock_exclusive(id_) as held:
                self.delete(held)

    def _begin_deletion(self, id_: str) -> None:
        try:
            self.store.set_phase(id_, Phase.DELETING)
        except NoSpace:
            self.store.files.mark_deleting(id_)

    def _start(
        self, engine: Engine, request: StartRequest, record: MachineRecord, image: RootImage | None, progress: Progress
    ) -> Started:
        """Start a machine, from a spare where there is one."""
        if self.spares is None or image is None:
            return engine.start(request, progress)
        order = Order(record.environment, image.digest, record.vcpu_count, record.mem_mib, request.accelerator)
        return self.spares.start(engine, request, order, progress)

    def _request(
        self, record: MachineRecord, image: RootImage | None, known: Secrets, output: Path | None
    ) -> StartRequest:
        hosts = f"127.0.0.1 localhost\n127.0.1.1 {record.id}\n::1 localhost ip6-localhost\n"
        return StartRequest(
            system=self.system_for(image) if image else None,
            shape=record.shape,
            home=self.folders.home(record.id),
            sockets=self.folders.sockets(record.id),
            layers=record.layers,
            generation=record.generation,
            new_disk=record.root_digest is None,
            output=output,
            baseline=self.baseline(record),
            hostname=record.id,
            lifetime_seconds=max(1.0, record.seconds_left),
            accelerator=record.requested_accelerator or "",
            files={
                "/etc/hostname": (0o644, f"{record.id}\n".encode()),
                "/etc/hosts": (0o644, hosts.encode()),
                "/etc/machine-id": (0o444, f"{_machine_id(record)}\n".encode()),
                **network_files(record, known),
            },
        )

    def baseline(self, record: MachineRecord) -> Path | None:
        """Return the image that /workspace began with, None for an empty one; raise `GuestFailed` if it is missing."""
        path = self.folders.baseline(record.id)
        if path.exists():
            return path
        if record.baseline:
            raise GuestFailed(
                f"what /workspace of {record.id} began with is missing: {path}",
                hint="nothing was changed; put the file back, for example from a fork of the workspace",
            )
        return None


def require_time_left(record: MachineRecord) -> None:
    """Raise `Conflict` for a machine whose time is over."""
    if record.expired:
        raise Conflict(f"the time of {record.id} is over", hint=more_time_hint(record))


def _machine_id(record: MachineRecord) -> str:
    """Return the machine id, which stays the same after a stop and a start: machine-id(5)."""
    return hashlib.sha256(f"pyro {record.id} {record.created_at}".encode()).hexdigest()[:32]
