"""Lock machines for one owner or for several users, and reconcile what dead processes left.

Every change of phase happens under the machine's lock file, which the kernel drops when the process dies. So a
record that is under way while its lock is free was left by a dead process, and whoever locks it next settles it.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from pyro_mcp.engine import Engine, System
from pyro_mcp.environments import RootImage
from pyro_mcp.errors import Busy, Conflict, GuestGone, NoSpace, NotFound, PyroError
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.host.files import locked
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.user_ids import release_ids
from pyro_mcp.machines.folders import Folders
from pyro_mcp.machines.machine_store import NO_PROCESS, MachineRecord, MachineStore
from pyro_mcp.machines.networks import wait_for_gateway_end
from pyro_mcp.machines.phases import GUEST, UNDER_WAY, Phase, require_phase
from pyro_mcp.machines.spares import Spares

_LOCK_DEADLINE = 30.0


def _start_hint(record: MachineRecord) -> str:
    if record.phase not in {Phase.STOPPED, Phase.FAILED, Phase.CREATED}:
        return ""
    return more_time_hint(record) if record.expired else "start it first"


def more_time_hint(record: MachineRecord) -> str:
    """Return what to do about a machine whose time is over."""
    if not record.id.startswith("ws-"):
        return "make another one"
    return Hint(
        "{} gives it another hour; then start it",
        Verb("workspace update", workspace_id=record.id, ttl_seconds=3600),
    )


@dataclass(frozen=True)
class LockedMachines:
    """The machines of one state folder, each locked while it is used or changed.

    `engine_for` gives the engine of an execution mode; `system_for` the files that an image boots from. Without
    `spares` every machine is started from the beginning.
    """

    store: MachineStore
    folders: Folders
    engine_for: Callable[[str], Engine]
    system_for: Callable[[RootImage], System]
    spares: Spares | None = None

    @contextmanager
    def reserve_id(self, prefix: str) -> Iterator[str]:
        """Reserve a new machine id and lock it; what was made under it is removed when the block fails."""
        id_ = f"{prefix}-{secrets.token_hex(6)}"
        # A repair may look at the new lock file for a moment, taking it for a stray.
        with locked(self.folders.lock(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
            self.folders.turnstile(id_).touch()  # now: a disk that is full later must not keep anybody from deleting it
            try:
                yield id_
            except BaseException:
                self.remove(id_, None)
                raise

    @contextmanager
    def lock_exclusive(self, id_: str, *, deadline_seconds: float = _LOCK_DEADLINE) -> Iterator[MachineRecord]:
        """Lock a machine against users and changes, and reconcile it; raises `NotFound`, `Busy`."""
        with ExitStack() as stack:
            with self.store.kept_open():
                stack.enter_context(self.lock_turnstile(id_, deadline_seconds=deadline_seconds))
                record = stack.enter_context(self.lock_drained(id_, deadline_seconds=deadline_seconds))
            yield record

    @contextmanager
    def lock_turnstile(self, id_: str, *, deadline_seconds: float = _LOCK_DEADLINE) -> Iterator[MachineRecord]:
        """Keep further users and changes away; current users go on. Raises `NotFound`, `Busy`.

        The record may still have the phase that a dead process left, unless `is_running` returns true.
        """
        self.store.get(id_)  # so that an unknown name leaves no lock file behind
        with locked(self.folders.turnstile(id_), deadline_seconds=deadline_seconds, what=id_):
            try:
                record = self.store.refreshed(id_)
            except NotFound:
                self.remove_lock_files(id_)
                raise
            yield record

    @contextmanager
    def lock_drained(self, id_: str, *, deadline_seconds: float = _LOCK_DEADLINE) -> Iterator[MachineRecord]:
        """Wait until a machine whose turnstile is locked has no user, and reconcile it; raises `NotFound`, `Busy`."""
        with locked(self.folders.lock(id_), deadline_seconds=deadline_seconds, what=id_):
            try:
                record = self.reconcile(self.store.refreshed(id_))
            except NotFound:
                self.remove_lock_files(id_)
                raise
            yield record

    def is_running(self, record: MachineRecord) -> bool:
        """Return whether a machine whose turnstile is locked runs, even if a process died while it stopped it."""
        if record.phase not in {Phase.RUNNING, Phase.STOPPING} or record.identity is None:
            return False
        if not self.engine_of(record).alive(record.identity):
            return False
        if record.phase == Phase.STOPPING:
            self.store.set_phase(record.id, Phase.RUNNING)
        return True

    @contextmanager
    def lock_shared(self, id_: str) -> Iterator[MachineRecord]:
        """Lock a running machine for use, together with other users; it is not reset or deleted meanwhile.

        Raises `NotFound`, `Conflict` when it does not run, `Busy` while it is being changed.
        """
        with ExitStack() as stack:
            with self.store.kept_open():
                self._current_record(id_)
                # A process that waits for the exclusive lock holds the turnstile, so that no later user overtakes it.
                with locked(self.folders.turnstile(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
                    lock = self.folders.lock(id_)
                    stack.enter_context(locked(lock, deadline_seconds=_LOCK_DEADLINE, shared=True, what=id_))
                record = self.store.get(id_)
            require_phase(id_, record.phase, {Phase.RUNNING}, hint=_start_hint(record))
            with self.explain_guest_gone(record):
                yield record

    @contextmanager
    def lock_for_snapshot(self, id_: str) -> Iterator[MachineRecord]:
        """Lock a machine for a snapshot: a running one is shared with its users, but not with other snapshots."""
        if self.current_record(id_).phase != Phase.RUNNING:
            with self.lock_exclusive(id_) as record:
                yield record
            return
        with self.lock_shared(id_), locked(self.folders.freeze(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
            yield self.store.get(id_)

    @contextmanager
    def explain_guest_gone(self, used: MachineRecord) -> Iterator[None]:
        """Turn a guest's sudden end into `Conflict` when somebody deletes, stops or resets it."""
        try:
            yield
        except GuestGone as error:
            id_, record = used.id, self.store.get(used.id)
            if record.phase == Phase.DELETING:
                raise Conflict(f"{id_} was deleted meanwhile") from error
            if record.phase in {Phase.STOPPING, Phase.STOPPED, Phase.STARTING} or record.identity != used.identity:
                raise Conflict(f"{id_} was stopped or reset meanwhile", hint=_start_hint(record)) from error
            if record.expired:
                raise GuestGone(
                    f"the time of {id_} is over", hint=Hint("{} gives it more time", Argument("ttl_seconds"))
                ) from error
            raise

    def current_record(self, id_: str) -> MachineRecord:
        """Return the machine as it is now, without waiting for processes that change it; raises `NotFound`.

        Takes a lock only for a machine that a dead process may have left half way.
        """
        with self.store.kept_open():
            return self._current_record(id_)

    def _current_record(self, id_: str) -> MachineRecord:
        with suppress(NoSpace):
            record = self.store.refreshed(id_)
            if not self.needs_reconciling(record):
                return record
        try:
            with self.lock_exclusive(id_, deadline_seconds=0) as record:
                return record
        except (Busy, NoSpace):
            return self.with_current_phase(self.store.get(id_))

    def with_current_phase(self, record: MachineRecord) -> MachineRecord:
        """Return `record`, with its phase FAILED if the machine has died; writes nothing, takes no lock."""
        death = self._death(record)
        return record if death is None else replace(record, phase=Phase.FAILED, failure=death, **NO_PROCESS)

    @contextmanager
    def failing(self, id_: str, identity: Callable[[], Identity | None]) -> Iterator[None]:
        """Record why the block failed, and leave nothing of the machine running."""
        try:
            yield
        except BaseException as error:
            self.clear(id_, identity())
            message = error.message if isinstance(error, PyroError) else str(error)
            with suppress(NoSpace):  # whoever looks next settles it
                self._mark_failed(id_, message or type(error).__name__)
            raise

    def _mark_failed(self, id_: str, failure: str) -> MachineRecord:
        """Record that a machine has failed, unless somebody is deleting it meanwhile, who holds no lock for that."""
        try:
            return self.store.set_phase(id_, Phase.FAILED, failure=failure, **NO_PROCESS)
        except Conflict:
            record = self.store.get(id_)
            if record.phase != Phase.DELETING:
                raise
            return record

    def remove(self, id_: str, identity: Identity | None) -> None:
        """Remove a locked machine: its processes, its folder, its record and its lock files."""
        self.clear(id_, identity)
        release_ids(self.folders.home(id_))
        self.store.files.mark_deleting(id_)
        # Its files go first, which makes room for the rest on a full disk. The mark stays until no record needs it.
        self.store.files.empty(id_)
        try:
            self.store.remove(id_)
        except NoSpace:
            self.store.release_reserve()
            self.store.remove(id_)
        shutil.rmtree(self.folders.home(id_), ignore_errors=True)
        self.remove_lock_files(id_)
        self.store.shrink()
        self.store.keep_reserve()

    def remove_lock_files(self, id_: str) -> None:
        """Remove the lock files of a machine that does not exist any more."""
        for path in (self.folders.freeze(id_), self.folders.turnstile(id_), self.folders.lock(id_)):
            path.unlink(missing_ok=True)

    def reconcile(self, record: MachineRecord) -> MachineRecord:
        """Correct the phase of a machine that we have locked; end what a dead process left running."""
        death = self._death(record)
        if death is None and self.is_running(record):  # also when the process that was stopping it died
            return self.store.get(record.id)
        if death is None and record.phase in UNDER_WAY and record.phase != Phase.DELETING:
            death = f"the process that was {record.phase} it died"
        if death is None:
            return record
        self.clear(record.id, record.identity)
        return self._mark_failed(record.id, death)

    def needs_reconciling(self, record: MachineRecord) -> bool:
        """Return whether a process may have died while it worked on the machine, or the machine itself has."""
        return record.phase in UNDER_WAY or self._death(record) is not None

    def _death(self, record: MachineRecord) -> str | None:
        """Return why a running machine has ended; None while it runs."""
        if record.phase != Phase.RUNNING or not record.identity or self.engine_of(record).alive(record.identity):
            return None
        if record.expired:
            return "its time was over"
        panic = self.panic(record, record.identity)
        return f"its kernel panicked: {panic}" if panic else "the virtual machine ended by itself"

    def panic(self, record: MachineRecord, identity: Identity) -> str:
        """Return why the kernel of a machine's guest ended it; "" when that is not known."""
        folders = self.folders
        return self.engine_of(record).panic(folders.home(record.id), folders.sockets(record.id), identity)

    def clear(self, id_: str, identity: Identity | None) -> None:
        """End every process of a machine, also those whose id the database does not have.

        It has none if the process that started them was killed, and an old one if an older database was restored.
        """
        folder, engine = self.folders.sockets(id_), self.engine_for(GUEST)
        with wait_for_gateway_end(folder):
            if identity is None or not engine.alive(identity):
                engine.kill_all(self.folders.home(id_), folder)
            if identity is not None:
                engine.kill(identity, folder)
        shutil.rmtree(folder, ignore_errors=True)

    def engine_of(self, record: MachineRecord) -> Engine:
        """Return the engine that runs a machine; raise `Conflict` for one that was never started."""
        if record.execution_mode is None:
            raise Conflict(f"{record.id} was never started")
        return self.engine_for(record.execution_mode)
