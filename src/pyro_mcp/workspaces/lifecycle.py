"""From a wish to a running machine and back to nothing, one step at a time, each of which may be the last.

Every change of phase happens under the machine's lock file, which the kernel drops when the process dies. So a
record that is under way while its lock is free was left by a dead process, and `repair` can settle it.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pyro_mcp.engine import Engine, Identity, Session, Shape, Sockets, Start, System, end_found
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import Busy, Conflict, GuestGone, NoSpace, NotFound
from pyro_mcp.host.files import locked, private_directory
from pyro_mcp.host.progress import Progress, silent
from pyro_mcp.workspaces.folders import Folders
from pyro_mcp.workspaces.links import NO_LINK, Link
from pyro_mcp.workspaces.networks import connect, files_for, gateway_ending, gateway_of
from pyro_mcp.workspaces.phases import UNDER_WAY, Phase, require_phase
from pyro_mcp.workspaces.store import Record, Store

GUEST, HOST_COMPAT = "guest_virtio", "host_compat"
"""The execution modes: in a virtual machine, and without one."""
_LOCK_DEADLINE = 30.0


def new_layer_name() -> str:
    """A name for a layer that no other layer has; QEMU wants a letter first."""
    return f"l{secrets.token_hex(6)}"


def _start_hint(record: Record) -> str:
    return "start it first" if record.phase in {Phase.STOPPED, Phase.FAILED, Phase.CREATED} else ""


@dataclass(frozen=True)
class Lifecycle:
    """Moves machines between phases.

    `engine_for` gives the engine of an execution mode; `system_for` the files that an image boots from.
    """

    store: Store
    folders: Folders
    engine_for: Callable[[str], Engine]
    system_for: Callable[[RootImage], System]

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
        one_shot: bool = False,
        link: Link = NO_LINK,
    ) -> Record:
        """Register a new machine; nothing runs yet."""
        now = time.time()
        record = Record(
            id=id_,
            environment=environment,
            environment_version=version,
            vcpu_count=shape.vcpu_count,
            mem_mib=shape.mem_mib,
            allow_host_compat=allow_host_compat,
            phase=Phase.CREATED,
            created_at=now,
            expires_at=now + ttl_seconds,
            layers=layers,
            generation=generation,
            one_shot=one_shot,
            network_policy=link.policy,
            allow_hosts=link.allow_hosts,
        )
        self.store.add(record)
        return record

    @contextmanager
    def making(self, prefix: str) -> Iterator[str]:
        """A new name, held for us alone; what was made under it is removed again when the block fails."""
        id_ = f"{prefix}-{secrets.token_hex(6)}"
        # A repair may look at the new lock file for a moment, taking it for a stray.
        with locked(self.folders.lock(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
            try:
                yield id_
            except BaseException:
                self._remove(id_, None)
                raise

    @contextmanager
    def hold(self, id_: str, *, deadline_seconds: float = _LOCK_DEADLINE) -> Iterator[Record]:
        """The machine for us alone, settled if a dead process left it half way; raises `NotFound`, `Busy`."""
        self.store.get(id_)  # so that an unknown name leaves no lock file behind
        with (
            locked(self.folders.turn(id_), deadline_seconds=deadline_seconds, what=id_),
            locked(self.folders.lock(id_), deadline_seconds=deadline_seconds, what=id_),
        ):
            try:
                record = self._settled(self.store.get(id_))
            except NotFound:
                self._unlock(id_)
                raise
            yield record

    @contextmanager
    def use(self, id_: str) -> Iterator[Record]:
        """The running machine, shared with others who use it; nobody resets or stops it meanwhile.

        Raises `NotFound`, `Conflict` when it does not run, `Busy` while it is being changed.
        """
        self.observe(id_)
        with ExitStack() as stack:
            # Whoever waits to have the machine alone keeps the turn, so that users who come later do not overtake.
            with locked(self.folders.turn(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
                lock = self.folders.lock(id_)
                stack.enter_context(locked(lock, deadline_seconds=_LOCK_DEADLINE, shared=True, what=id_))
            record = self.store.get(id_)
            require_phase(id_, record.phase, {Phase.RUNNING}, hint=_start_hint(record))
            with self.told_of_deletion(id_):
                yield record

    @contextmanager
    def freezing(self, id_: str) -> Iterator[Record]:
        """The machine for a snapshot: a running one is shared with its users, but not with other snapshots."""
        if self.observe(id_).phase != Phase.RUNNING:
            with self.hold(id_) as record:
                yield record
            return
        with self.use(id_), locked(self.folders.freeze(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
            yield self.store.get(id_)

    @contextmanager
    def told_of_deletion(self, id_: str) -> Iterator[None]:
        """Turn a guest's sudden end into `Conflict` when somebody is deleting it."""
        try:
            yield
        except GuestGone as error:
            record = self.store.get(id_)
            if record.phase == Phase.DELETING:
                raise Conflict(f"{id_} was deleted meanwhile") from error
            if record.expired:
                raise GuestGone(f"the time of {id_} is over", hint="--ttl-seconds gives it longer") from error
            raise

    def observe(self, id_: str) -> Record:
        """The machine as it is now, without waiting for whoever works on it; raises `NotFound`."""
        try:
            with self.hold(id_, deadline_seconds=0) as record:
                return record
        except Busy:
            return self.store.get(id_)

    def session(self, record: Record) -> AbstractContextManager[Session]:
        """A connection to a running machine."""
        return self._engine(record).guest(self.folders.sockets(record.id))

    def start(
        self,
        record: Record,
        image: RootImage | None,
        mode: str,
        progress: Progress = silent,
        *,
        reaching: Phase = Phase.RUNNING,
        also: Callable[[sqlite3.Connection], None] | None = None,
        output: Path | None = None,
    ) -> Record:
        """Start a machine that is held; on failure nothing runs and its phase says so.

        The layers and generation of `record` need not be those that the store knows: they come to be so, with what
        `also` does, only when the machine runs. Raises `Conflict` when its disk lies upon another image than `image`.
        """
        if image is not None and record.root_digest not in (None, image.digest):
            raise Conflict(
                f"{record.id} was made with another build of {record.environment} than is installed now",
                hint="a reset begins with the new one; 'workspace reset' keeps nothing but snapshots of /workspace",
            )
        home = private_directory(self.folders.home(record.id))
        engine = self.engine_for(mode)
        self.store.move(record.id, Phase.STARTING, execution_mode=mode, failure=None)
        identity = None
        with self._failing(record.id, lambda: identity):
            request = self._request(record, image, home, output)
            with gateway_of(record, self.folders) if mode == GUEST else nullcontext() as gateway:
                identity = engine.start(replace(request, tap=gateway.tap) if gateway else request, progress)
                if gateway:
                    connect(gateway, record, self.folders, engine)
            return self.store.move(
                record.id,
                reaching,
                also,
                accelerator=engine.accelerator().name,
                pid=identity.pid,
                process_start_time=identity.start_time,
                layers=record.layers,
                generation=record.generation,
                root_digest=image.digest if image else None,
                environment_version=record.environment_version,
            )

    def stop(self, record: Record) -> Record:
        """Flush and end a machine that is held; one that is stopped already stays so."""
        if record.phase == Phase.STOPPED:
            return record
        require_phase(record.id, record.phase, {Phase.RUNNING})
        self.store.move(record.id, Phase.STOPPING)
        with self._failing(record.id, lambda: record.identity):
            if record.identity is not None:
                with gateway_ending(sockets := self.folders.sockets(record.id)):
                    self._engine(record).power_off(record.identity, sockets)
            return self.store.move(record.id, Phase.STOPPED, pid=None, process_start_time=None)

    def reset(
        self,
        record: Record,
        image: RootImage | None,
        layers: Sequence[str],
        progress: Progress = silent,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> Record:
        """Start a machine that is held anew: / as the environment has it now, /workspace as `layers` hold it.

        Until it runs, its disk is what it was: a reset that fails, or dies, loses nothing.
        """
        require_phase(record.id, record.phase, {Phase.RUNNING, Phase.STOPPED, Phase.FAILED})
        if record.execution_mode == HOST_COMPAT:
            raise Conflict("a host_compat machine has no disk that could be reset", hint="delete it and make another")
        if record.phase == Phase.RUNNING:
            self.store.move(record.id, Phase.STOPPING)
            with self._failing(record.id, lambda: record.identity):
                self._clear(record.id, record.identity)
                self.store.move(record.id, Phase.STOPPED, pid=None, process_start_time=None)
        wanted = replace(
            record,
            layers=(*layers, new_layer_name()),
            generation=record.generation + 1,
            root_digest=None,
            environment_version=image.version if image else record.environment_version,
        )
        return self.start(wanted, image, record.execution_mode or GUEST, progress, also=also)

    def freeze_layers(self, record: Record) -> tuple[str, ...]:
        """Put a new layer on the disk of a machine that is held; the layers that will not change any more."""
        require_phase(record.id, record.phase, {Phase.RUNNING, Phase.STOPPED}, hint="start it first")
        fresh, engine = new_layer_name(), self._engine(record)
        engine.make_layer(self.folders.home(record.id), fresh)
        # Recorded before it is used: a layer that never comes into use is empty and does no harm below others.
        self.store.move(record.id, record.phase, layers=(*record.layers, fresh))
        if record.phase == Phase.RUNNING:
            engine.use_layer(self.folders.sockets(record.id), fresh)
        return record.layers

    def delete(self, record: Record) -> None:
        """Remove a machine that is held, and all it owned."""
        self.store.move(record.id, Phase.DELETING)
        self._remove(record.id, record.identity)

    def delete_now(self, id_: str) -> None:
        """Delete a machine also while others use it: what they run in a guest ends, and they are told."""
        try:
            self._delete_now(id_)
        except NoSpace:
            self.store.release_reserve()
            self._delete_now(id_)

    def _delete_now(self, id_: str) -> None:
        record = self.store.get(id_)
        if record.phase in {Phase.RUNNING, Phase.EXECUTING} and record.identity is not None:
            self.store.move(id_, Phase.DELETING)
            with gateway_ending(sockets := self.folders.sockets(id_)):
                self._engine(record).end(record.identity, sockets)
        with self.hold(id_) as held:
            self.delete(held)

    def repair(self, is_over: Callable[[Record], bool] = lambda _: False) -> list[str]:
        """Settle what dead processes left, delete what has expired or `is_over`; the ids deleted.

        A machine that somebody is working on is left alone.
        """
        deleted = []
        for record in self.store.all():
            try:
                with self.hold(record.id, deadline_seconds=0) as settled:
                    if settled.expired or settled.phase == Phase.DELETING or is_over(settled):
                        self.delete(settled)
                        deleted.append(record.id)
            except (Busy, NotFound):
                continue
        self._remove_strays({record.id for record in self.store.all()})
        return deleted

    @contextmanager
    def _failing(self, id_: str, identity: Callable[[], Identity | None]) -> Iterator[None]:
        """Record why the block failed, and leave nothing of the machine running."""
        try:
            yield
        except BaseException as error:
            self._clear(id_, identity())
            if self.store.get(id_).phase != Phase.DELETING:
                failure = str(error) or type(error).__name__
                self.store.move(id_, Phase.FAILED, failure=failure, pid=None, process_start_time=None)
            raise

    def _remove(self, id_: str, identity: Identity | None) -> None:
        self._clear(id_, identity)
        shutil.rmtree(self.folders.home(id_), ignore_errors=True)
        self.store.remove(id_)
        self._unlock(id_)

    def _unlock(self, id_: str) -> None:
        for path in (self.folders.freeze(id_), self.folders.turn(id_), self.folders.lock(id_)):
            path.unlink(missing_ok=True)

    def _settled(self, record: Record) -> Record:
        """`record` with a phase that is true: nobody but us works on it, since we hold its lock."""
        if record.phase == Phase.RUNNING and record.identity and not self._engine(record).alive(record.identity):
            self._clear(record.id, record.identity)
            failure = "its time was over" if record.expired else "the virtual machine ended by itself"
            return self.store.move(record.id, Phase.FAILED, failure=failure, pid=None, process_start_time=None)
        if record.phase in UNDER_WAY and record.phase != Phase.DELETING:
            self._clear(record.id, record.identity)
            failure = f"the process that was {record.phase} it died"
            return self.store.move(record.id, Phase.FAILED, failure=failure, pid=None, process_start_time=None)
        return record

    def _clear(self, id_: str, identity: Identity | None) -> None:
        """End every process of a machine, also one whose number never reached the database."""
        folder = self.folders.sockets(id_)
        with gateway_ending(folder):
            if identity:
                self.engine_for(GUEST).end(identity, folder)
            else:
                end_found(str(self.folders.home(id_)), Sockets(folder))
        shutil.rmtree(folder, ignore_errors=True)

    def _remove_strays(self, known: set[str]) -> None:
        """Remove folders that belong to no machine: their record went, or never came."""
        parents = (self.folders.state / "machines", self.folders.state / "locks")
        names = {path.name.split(".")[0] for parent in parents if parent.exists() for path in parent.iterdir()}
        for id_ in names - known:
            with suppress(Busy), locked(self.folders.lock(id_), deadline_seconds=0):
                try:
                    self.store.get(id_)
                except NotFound:
                    self._clear(id_, None)
                    shutil.rmtree(self.folders.home(id_), ignore_errors=True)
                    self._unlock(id_)

    def _engine(self, record: Record) -> Engine:
        if record.execution_mode is None:
            raise Conflict(f"{record.id} was never started")
        return self.engine_for(record.execution_mode)

    def _request(self, record: Record, image: RootImage | None, home: Path, output: Path | None) -> Start:
        hosts = f"127.0.0.1 localhost\n127.0.1.1 {record.id}\n::1 localhost ip6-localhost\n"
        return Start(
            system=self.system_for(image) if image else None,
            shape=record.shape,
            home=home,
            sockets=self.folders.sockets(record.id),
            layers=record.layers,
            generation=record.generation,
            output=output,
            baseline=baseline if (baseline := home / "baseline.erofs").exists() else None,
            hostname=record.id,
            lifetime_seconds=max(1.0, record.expires_at - time.time()),
            files={
                "/etc/hostname": (0o644, f"{record.id}\n".encode()),
                "/etc/hosts": (0o644, hosts.encode()),
                "/etc/machine-id": (0o444, f"{_machine_id(record)}\n".encode()),
                **files_for(record, self.folders),
            },
        )


def require_time_left(record: Record) -> None:
    """Raise `Conflict` for a machine that nobody may start any more."""
    if record.expired:
        raise Conflict(f"the time of {record.id} is over", hint="make another one, with a longer --ttl-seconds")


def _machine_id(record: Record) -> str:
    """Its own for each machine, the same after a stop and a start: machine-id(5)."""
    return hashlib.sha256(f"pyro {record.id} {record.created_at}".encode()).hexdigest()[:32]
