"""The machines in the database, with their phases and what they own on the host."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyro_mcp.engine import Shape
from pyro_mcp.errors import Conflict, NoSpace, NotFound, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.machines.database import Database
from pyro_mcp.machines.lifetimes import expiry_in, seconds_left
from pyro_mcp.machines.network_policy import OFF, NetworkPolicy
from pyro_mcp.machines.phases import Phase, check_transition
from pyro_mcp.machines.record_files import MachineRows, RecordFiles, restore_rows, rows_of
from pyro_mcp.machines.schema import CURRENT
from pyro_mcp.network import AllowGiven


@dataclass(frozen=True)
class MachineRecord:
    """One machine as the database knows it; times in seconds since 1970."""

    id: str
    environment: str
    environment_version: str
    vcpu_count: int
    mem_mib: int
    allow_host_compat: bool
    phase: Phase
    created_at: float
    expires_at: float
    execution_mode: str | None = None
    accelerator: str | None = None
    pid: int | None = None
    process_start_time: int | None = None
    failure: str | None = None
    layers: tuple[str, ...] = ("l0",)
    """The layers of its disk, lowest first. One that was never put to use may be among them; it is empty then."""
    generation: int = 0
    root_digest: str | None = None
    """The environment's image that its disk lies upon, from its first start on."""
    baseline: bool | None = None
    """Whether its folder holds what /workspace began with; None when that was not recorded yet."""
    one_shot: bool = False
    """Made for one command by a caller that waits for it: without that caller nobody knows it."""
    network_policy: str = OFF
    allow_hosts: tuple[AllowGiven, ...] = ()
    """Texts and JSON objects."""
    trust_host_ca: bool = False
    host_mirrors: bool = False
    boot_id: str | None = None
    expires_uptime: float | None = None
    """The end of its time in seconds since that boot of the host, which counts until the next one."""
    requested_accelerator: str | None = None
    """The accelerator of every start, or "auto"; None when that was not recorded yet."""
    supervisor: str | None = None
    """The socket of the process that supervises its network."""

    @property
    def identity(self) -> Identity | None:
        if self.pid is None or self.process_start_time is None:
            return None
        return Identity(self.pid, self.process_start_time)

    @property
    def shape(self) -> Shape:
        return Shape(self.vcpu_count, self.mem_mib, self.network.on)

    @property
    def network(self) -> NetworkPolicy:
        supervisor = None if self.supervisor is None else Path(self.supervisor)
        return NetworkPolicy(self.network_policy, self.allow_hosts, self.trust_host_ca, self.host_mirrors, supervisor)

    @property
    def expired(self) -> bool:
        return self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """The seconds until its time is over."""
        return seconds_left(self.expires_at, self.boot_id, self.expires_uptime)


def is_vm(id_: str) -> bool:
    """Return whether an id is that of a one-shot machine."""
    return id_.startswith("vm-")


NO_PROCESS: Mapping[str, Any] = {"pid": None, "process_start_time": None}
"""The columns of a machine that does not run."""
_COLUMNS = tuple(field.name for field in fields(MachineRecord))


class MachineStore(Database):
    """The machines in the database; every method is one short transaction.

    The database is an index: the folder of each machine has a file with the same rows, and where they differ the newer
    ones count.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.files = RecordFiles(path.parent / "machines")

    @contextmanager
    def update_machine(self, id_: str) -> Iterator[sqlite3.Connection]:
        """Begin a transaction that also writes the machine's rows to the file in its folder.

        It begins with the file's rows where these are newer, as they are when an older database was restored.
        """
        with self.transaction() as db:
            found = self.files.read(id_)
            if found is not None and 0 <= _revision(db, id_) < found.revision and found.schema <= CURRENT:
                self._restore_rows(db, found)
            yield db
            db.execute("UPDATE machines SET revision = revision + 1 WHERE id = ?", (id_,))
            rows = rows_of(db, id_)
            if not rows.tables["machines"]:
                return
            if rows.machine["phase"] == Phase.DELETING:
                self.files.mark_deleting(id_)
            else:
                self.files.write(id_, rows)

    def refreshed(self, id_: str) -> MachineRecord:
        """Return the record of `id_`, taken over from the machine's folder if that is newer; raises `NotFound`.

        It is newer when an older copy of the database was restored.
        """
        with self.reading() as db:
            record = _get(db, id_)
            revision = _revision(db, id_)
        found = self.files.read(id_)
        if found is None:
            if self.files.is_deleting(id_):
                return replace(record, phase=Phase.DELETING)
            if self.files.folder(id_).exists():  # made by a version that kept no such files
                with suppress(NoSpace), self.update_machine(id_):
                    pass
            return record
        if found.revision <= revision or found.schema > CURRENT:
            return record
        with self.transaction() as db:
            if 0 <= _revision(db, id_) < found.revision:  # else another process was faster
                self._restore_rows(db, found)
            return _get(db, id_)

    def refresh(self, id_: str | None = None) -> None:
        """Refresh the record of one machine, or of each; a record that cannot be refreshed stays as it is."""
        with self.reading() as db:
            known = db.execute("SELECT id, revision FROM machines WHERE id = coalesce(?, id)", (id_,)).fetchall()
        for row in known:
            found = self.files.read(row["id"])
            if found is not None and found.revision > row["revision"]:
                with suppress(PyroError):
                    self.refreshed(row["id"])

    def adopt(self, id_: str) -> MachineRecord:
        """Take a machine into the database that it does not know, as its folder describes it.

        Raises `Conflict` when it is known, or when its folder does not say enough.
        """
        found = self.files.read(id_)
        if found is None:
            raise Conflict(
                f"{id_} cannot be adopted: its folder has no record of what it is",
                hint=Hint(
                    "its files are in {}; {} removes them",
                    str(self.files.folder(id_)),
                    Verb("workspace delete", workspace_id=id_),
                ),
            )
        if found.schema > CURRENT:
            raise Conflict(f"{id_} was recorded by a newer pyro", hint="upgrade pyro-mcp, then adopt it")
        with self.reading() as db:
            if rows_of(db, id_).tables["machines"]:
                raise Conflict(f"{id_} is in the database already: there is nothing to adopt")
        with self.transaction() as db:
            if found.revision > _revision(db, id_):  # else another process was faster
                self._restore_rows(db, found)
            return _get(db, id_)

    def _restore_rows(self, db: sqlite3.Connection, rows: MachineRows) -> None:
        """Copy the rows of a machine's folder into the database; raise `Conflict` when they cannot be used."""
        id_ = str(rows.machine["id"])
        try:
            restore_rows(db, rows)
            _get(db, id_)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, ValueError, LookupError) as error:
            raise Conflict(
                f"the record in {self.files.folder(id_)} cannot be used: {error}",
                hint=Hint("{} removes the workspace with its files", Verb("workspace delete", workspace_id=id_)),
            ) from error

    def add(self, record: MachineRecord) -> None:
        marks = ", ".join("?" for _ in _COLUMNS)
        with self.update_machine(record.id) as db:
            db.execute(
                f"INSERT INTO machines ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - our own column names
                tuple(_stored(getattr(record, name)) for name in _COLUMNS),
            )
        self.keep_reserve()

    def get(self, id_: str) -> MachineRecord:
        """Return the record of `id_`; raises `NotFound`."""
        with self.reading() as db:
            return _get(db, id_)

    def all(self) -> list[MachineRecord]:
        """Return every record, newest first."""
        with self.reading() as db:
            rows = db.execute("SELECT * FROM machines ORDER BY created_at DESC").fetchall()
        return [_record(row) for row in rows]

    def set_expiry(self, id_: str, ttl_seconds: float) -> None:
        """Set how many seconds from now a machine's time is over."""
        with self.update_machine(id_) as db:
            db.execute(
                "UPDATE machines SET expires_at = :expires_at, boot_id = :boot_id, expires_uptime = :expires_uptime "
                "WHERE id = :id",
                {**expiry_in(ttl_seconds), "id": id_},
            )

    def set_phase(
        self,
        id_: str,
        phase: Phase,
        in_transaction: Callable[[sqlite3.Connection], None] | None = None,
        **changes: str | float | tuple[str, ...] | None,
    ) -> MachineRecord:
        """Change the phase (raises `Conflict` when the table of transitions forbids it) and other columns.

        What `in_transaction` does with the connection happens with it, or not at all.
        """
        columns = {"phase": str(phase), **changes}
        unknown = columns.keys() - set(_COLUMNS)
        if unknown:
            raise ValueError(f"no such columns: {unknown}")
        with self.update_machine(id_) as db:
            check_transition(id_, _get(db, id_).phase, phase)
            assignments = ", ".join(f"{name} = ?" for name in columns)
            values = (*map(_stored, columns.values()), id_)
            db.execute(f"UPDATE machines SET {assignments} WHERE id = ?", values)  # noqa: S608
            if in_transaction is not None:
                in_transaction(db)
            return _get(db, id_)

    def remove(self, id_: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM machines WHERE id = ?", (id_,))


def _revision(db: sqlite3.Connection, id_: str) -> int:
    row = db.execute("SELECT revision FROM machines WHERE id = ?", (id_,)).fetchone()
    return -1 if row is None else int(row[0])


def _get(db: sqlite3.Connection, id_: str) -> MachineRecord:
    row = db.execute("SELECT * FROM machines WHERE id = ?", (id_,)).fetchone()
    if row is None:
        raise NotFound(f"there is no machine {id_!r}", hint="it may have been deleted or have expired")
    return _record(row)


def _record(row: sqlite3.Row) -> MachineRecord:
    values = {name: row[name] for name in _COLUMNS}
    values["phase"] = Phase(row["phase"])
    values |= {name: bool(row[name]) for name in ("allow_host_compat", "one_shot", "trust_host_ca", "host_mirrors")}
    values["baseline"] = None if row["baseline"] is None else bool(row["baseline"])
    values["layers"], values["allow_hosts"] = tuple(json.loads(row["layers"])), tuple(json.loads(row["allow_hosts"]))
    return MachineRecord(**values)


def _stored(value: object) -> object:
    return json.dumps(value) if isinstance(value, tuple) else value
