"""Clean up after dead processes, and keep what the database does not know until somebody adopts or deletes it.

The database is an index of what is on the disk, never a reason to remove it: a workspace without a record in it is left
as it is, running or not.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from pyro_mcp.errors import Busy, HostNotReady, NotFound, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import locked
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.host.user_ids import release_ids
from pyro_mcp.machines import GUEST, Lifecycle, MachineRecord, Phase, is_vm, seconds_left
from pyro_mcp.workspaces.workspace_store import WorkspaceStore

_LOCK_DEADLINE = 30.0


@dataclass
class RepairReport:
    """What a repair did: the machines it deleted, those it stopped, and what went wrong with others."""

    deleted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown:
    """A machine that the database does not know; `problem` says why it cannot be adopted, if it cannot."""

    id: str
    name: str | None
    running: bool
    problem: str = ""


class Recovery:
    """Repair, adoption and removal of machines that no living process works on, or that are not in the database."""

    def __init__(self, lifecycle: Lifecycle, workspace_store: WorkspaceStore) -> None:
        self._lifecycle = lifecycle
        self._store = lifecycle.store
        self._folders = lifecycle.folders
        self._workspace_store = workspace_store

    def repair(self, *, reap: bool = False) -> RepairReport:
        """Reconcile machines that dead processes left half way, and end machines whose time is over.

        A workspace whose time is over is stopped, and deleted only with `reap`. A machine that somebody is working on
        is left alone. What goes wrong with one machine does not keep the others from being repaired.
        """
        done = RepairReport()
        with self._store.kept_open():
            self._store.refresh()
            finished = self._workspace_store.ids()
            records = [one for one in self._store.all() if self._needs_repair(one, finished)]
        self._settle_each(records, done, reap=reap)
        self._remove_litter(done)
        for id_ in self.without_folder() if reap else ():
            try:
                self._remove_locked(id_)
                done.deleted.append(id_)
            except PyroError as error:
                done.problems[id_] = error.message
        return done

    def end_one_shots(self) -> None:
        """Remove the one-shot machines that no living process works on: such a one may lock the disk of another.

        What goes wrong with one is left to a repair.
        """
        done = RepairReport()
        with self._store.kept_open():
            records = [record for record in self._store.all() if record.one_shot]
        self._settle_each(records, done, reap=False)
        self._remove_litter(done)

    def unknown(self) -> list[Unknown]:
        """Return the workspaces on the disk that are not in the database, running or not."""
        on_disk = self._store.files.ids()
        known = {record.id for record in self._store.all()}  # last: a machine that is made meanwhile is known
        strays = (id_ for id_ in on_disk if id_ not in known and not is_vm(id_))
        return [self._described(id_) for id_ in strays if not self._is_litter(id_)]

    def without_folder(self) -> list[str]:
        """Return the machines that run although their folder was removed."""
        running = self._lifecycle.engine_for(GUEST).running_below(self._folders.machines)
        return [id_ for id_ in running if not self._folders.home(id_).exists()]

    def adopt(self, id_: str) -> MachineRecord:
        """Add a workspace that is on the disk to the database; a running one goes on running.

        Raises `NotFound` when there is no such folder, `Conflict` when the workspace is known or has no record.
        """
        if id_ not in self._store.files.ids():
            raise NotFound(
                f"there is no workspace {id_!r} on the disk", hint=Hint("{} shows those that exist", Verb("doctor"))
            )
        with self._closed_to_users(id_):
            adopted = self._store.adopt(id_)
            with suppress(Busy), self._locked(id_, 0):  # Busy: somebody's command runs in it, and goes on
                return self._lifecycle.reconcile(adopted)
            return adopted

    def discard(self, id_: str) -> None:
        """Delete a machine that is not in the database; raises `NotFound` when there is neither folder nor process."""
        if id_ not in {*(one.id for one in self.unknown()), *self.without_folder()}:
            raise NotFound(
                f"there is no workspace {id_!r}", hint=Hint("{} shows the workspaces", Verb("workspace list"))
            )
        with self._closed_to_users(id_):
            self._lifecycle.clear(id_, None)  # ends the commands that run in it, which hold its lock
            self._remove_locked(id_)

    def _settle_each(self, records: Iterable[MachineRecord], done: RepairReport, *, reap: bool) -> None:
        for record in records:
            try:
                with self._lifecycle.lock_exclusive(record.id, deadline_seconds=0) as settled:
                    self._settle(settled, done, reap=reap)
            except (Busy, NotFound):
                continue
            except PyroError as error:
                done.problems[record.id] = error.message

    def _remove_litter(self, done: RepairReport) -> None:
        for id_ in self._strays():
            try:
                with self._unknown(id_):
                    if not self._folders.home(id_).exists():
                        self._lifecycle.remove_lock_files(id_)
                    elif self._is_litter(id_):
                        self._remove(id_)
            except (Busy, HostNotReady):
                continue
            except PyroError as error:
                done.problems[id_] = error.message

    def _settle(self, record: MachineRecord, done: RepairReport, *, reap: bool) -> None:
        over = record.expired and (reap or is_vm(record.id))
        if over or record.phase == Phase.DELETING or self._is_abandoned(record):
            self._lifecycle.delete(record)
            done.deleted.append(record.id)
        elif record.expired and record.phase == Phase.RUNNING:
            self._lifecycle.stop(record)
            done.stopped.append(record.id)

    def _needs_repair(self, record: MachineRecord, finished: Collection[str]) -> bool:
        """Return whether `_settle` could change this machine; `finished` are the ids of all complete workspaces."""
        unfinished = record.one_shot or not (is_vm(record.id) or record.id in finished)
        return unfinished or record.expired or self._lifecycle.needs_reconciling(record)

    def _is_abandoned(self, record: MachineRecord) -> bool:
        """Return whether a machine that no living process works on is incomplete or one-shot, and so of no use."""
        return record.one_shot or not (is_vm(record.id) or self._workspace_store.has(record.id))

    def _is_litter(self, id_: str) -> bool:
        """Return whether a folder that is not in the database was never finished, or its deletion has begun."""
        home = self._folders.home(id_)
        if self._store.files.is_deleting(id_) or not home.exists():
            return True
        rows = self._store.files.read(id_)
        if rows is not None:
            known = rows.machine.get
            left = seconds_left(rows.machine["expires_at"], known("boot_id"), known("expires_uptime"))
            expired = is_vm(id_) and left <= 0
            return bool(rows.machine["one_shot"]) or expired or not (is_vm(id_) or rows.workspace)
        return not any((home / name).is_dir() and any((home / name).iterdir()) for name in ("live", "frozen"))

    def _described(self, id_: str) -> Unknown:
        rows = self._store.files.read(id_)
        if rows is None or rows.workspace is None:
            home = self._folders.home(id_)
            return Unknown(id_, None, running=False, problem=f"{home} holds a disk, but no record of what it is")
        pid, started = rows.machine["pid"], rows.machine["process_start_time"]
        running = pid is not None and self._lifecycle.engine_for(GUEST).alive(Identity(pid, started))
        return Unknown(id_, rows.workspace["name"], running)

    def _strays(self) -> Iterator[str]:
        """Return the names of folders and lock files without a machine in the database."""
        names = {path.name.split(".")[0] for path in self._folders.lock("any").parent.iterdir()}
        names |= {*self._store.files.ids()}
        yield from sorted(names - {record.id for record in self._store.all()})

    @contextmanager
    def _unknown(self, id_: str) -> Iterator[None]:
        """Hold the lock of a machine that the database does not know; raises `Busy`, also when it does now."""
        with self._locked(id_, 0):
            with suppress(NotFound):
                self._store.get(id_)
                raise Busy(f"{id_} was made meanwhile")
            yield

    @contextmanager
    def _closed_to_users(self, id_: str) -> Iterator[None]:
        """Keep further users and changes of the machine away; current users go on."""
        with locked(self._folders.turnstile(id_), deadline_seconds=_LOCK_DEADLINE, what=id_):
            yield

    @contextmanager
    def _locked(self, id_: str, deadline_seconds: float) -> Iterator[None]:
        with locked(self._folders.lock(id_), deadline_seconds=deadline_seconds, what=id_):
            yield

    def _remove_locked(self, id_: str) -> None:
        with self._locked(id_, _LOCK_DEADLINE):
            self._remove(id_)

    def _remove(self, id_: str) -> None:
        self._lifecycle.clear(id_, None)
        release_ids(self._folders.home(id_))
        shutil.rmtree(self._folders.home(id_), ignore_errors=True)
        self._lifecycle.remove_lock_files(id_)
