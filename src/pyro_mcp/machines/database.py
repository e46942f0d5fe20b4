"""The one database file: connections, short transactions, and what happens when the disk is full or a client hangs.

SQLite in WAL mode, so readers never wait for a writer. A database that is newer than this program, or damaged, is an
error and is left alone.
"""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pyro_mcp.errors import Busy, HostNotReady, NoSpace, PyroError
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import is_full, keep_reserve, locked, release_reserve
from pyro_mcp.host.lock_holders import Holder, busy_error, lock_holders
from pyro_mcp.machines.schema import is_current, migrate

_BUSY_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_MANY_PAGES = 2048  # of 4 KiB
_WRITE_LOCK = 120  # the byte of the -shm file that a writer locks: sqlite.org/walformat.html
_JOB_CONTROL = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


class _Kept(threading.local):
    """The connection that a thread keeps open, and the inode that the database file had before it was opened."""

    db: sqlite3.Connection | None = None
    inode = 0


class Database:
    """The database at `path`. It is opened for each statement or transaction, unless `kept_open` is in effect."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Space that is given back when the disk is full, so that machines can still be deleted.
        self._reserve = path.with_name("reserve")
        self._kept = _Kept()

    def check(self) -> None:
        """Raise `HostNotReady`, `NoSpace` or `Busy` for a database that cannot be used."""
        with self.reading():
            pass

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Open the database once for everything that this thread does with it in the block.

        On a full disk, and after the file was replaced, each statement opens it as if this method were not in effect.
        """
        if self._kept.db is not None:
            yield
            return
        inode, db = self._inode(), None
        # On a full disk: nothing. A connection that only reads would miss what others write once there is space again.
        with suppress(NoSpace), self._translating():
            db = self._connect(writing=True)
        self._kept.db, self._kept.inode = db, inode
        try:
            yield
        finally:
            self._kept.db = None
            if db is not None:
                db.close()

    def keep_reserve(self) -> None:
        """Hold back some space and some inodes for `release_reserve`, where there are any."""
        keep_reserve(self._reserve)

    def release_reserve(self) -> None:
        """Make room for a few transactions on a disk that is full."""
        release_reserve(self._reserve)

    def shrink(self) -> None:
        """Give back what removed rows took on the disk, when that is much and nobody is in the way."""
        with suppress(PyroError), self._connection(writing=True) as db:
            if db.execute("PRAGMA freelist_count").fetchone()[0] >= _MANY_PAGES:
                db.executescript("PRAGMA incremental_vacuum")  # execute() would free one page only

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection; commit its changes together after the block, or none of them.

        Keep it short: writers wait for each other. Raises `Busy`, which names the process that holds the database.
        """
        with self._connection(writing=True) as db:
            # Ctrl-Z in the middle would make every other client wait until this one goes on.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _JOB_CONTROL)
            try:
                self._begin(db)
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection for single statements that change nothing; it needs no space and waits for no writer."""
        with self._connection(writing=False) as db:
            yield db

    @contextmanager
    def _connection(self, *, writing: bool) -> Iterator[sqlite3.Connection]:
        """Use the connection that is kept open, or open one for the block; errors of SQLite become ours."""
        with self._translating():
            kept = self._kept
            if kept.db is not None and kept.inode and kept.inode == self._inode():
                yield kept.db
                return
            with closing(self._connect(writing=writing)) as db:
                yield db

    def _inode(self) -> int:
        """Return the inode of the database file; 0 when there is no file that can be reached."""
        try:
            return self._path.stat().st_ino
        except OSError:
            return 0

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Raise our errors for those of SQLite."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._translated(error) from error
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise HostNotReady(
                f"the database {self._path} is damaged: {error}",
                hint=Hint(
                    "the workspaces are intact: move {0}, {0}-wal and {0}-shm to another folder; then {1} "
                    "records the workspaces anew",
                    self._path.name,
                    Verb("workspace adopt"),
                ),
            ) from error

    def _begin(self, db: sqlite3.Connection) -> None:
        """Begin to write; gives up early when the process that writes is suspended."""
        end = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                db.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if _name(error) != "SQLITE_BUSY":
                    raise
                holders = self._writers()
                if time.monotonic() >= end or any(one.suspended for one in holders):
                    raise busy_error(f"the database {self._path}", holders) from error

    def _writers(self) -> list[Holder]:
        return lock_holders(self._path.with_name(f"{self._path.name}-shm"), byte=_WRITE_LOCK)

    def _translated(self, error: sqlite3.OperationalError) -> Busy | NoSpace | HostNotReady:
        if _name(error) == "SQLITE_FULL" or is_full(self._path.parent):
            return NoSpace(
                f"the disk that holds {self._path} is full",
                hint=Hint(
                    "free some space there; {} and {} work on a full disk too",
                    Verb("workspace list"),
                    Verb("workspace delete"),
                ),
            )
        if _name(error).startswith("SQLITE_BUSY"):
            return busy_error(f"the database {self._path}", self._writers())
        return HostNotReady(f"cannot use the database {self._path}: {error}")

    def _connect(self, *, writing: bool) -> sqlite3.Connection:
        """Open the database with all its tables. The file may be new, also because somebody has removed the old one."""
        db = self._open(writing=writing)
        try:
            if is_current(db, self._path):
                return db
        except BaseException:
            db.close()
            raise
        db.close()
        self._migrate()
        return self._open(writing=writing)

    def _migrate(self) -> None:
        # SQLite does not wait when two processes want to switch a new database to WAL.
        lock = self._path.with_name(f"{self._path.name}.lock")
        with (
            locked(lock, deadline_seconds=_BUSY_SECONDS),
            closing(self._open(writing=True)) as db,
        ):
            migrate(db, self._path)

    def _open(self, *, writing: bool) -> sqlite3.Connection:
        try:
            return _opened(str(self._path))
        except sqlite3.OperationalError:
            # Even reading makes two files beside the database, which a full disk has no room for. When no change waits
            # in the write-ahead log, the database file alone holds everything. SQLite assumes that nobody writes to it
            # while it is open, so such a connection is for one statement only.
            if writing or not is_full(self._path.parent) or self._has_log():
                raise
            return _opened(f"file:{quote(str(self._path))}?immutable=1", uri=True)

    def _has_log(self) -> bool:
        try:
            return self._path.with_name(f"{self._path.name}-wal").stat().st_size > 0
        except FileNotFoundError:
            return False


def _name(error: sqlite3.OperationalError) -> str:
    return getattr(error, "sqlite_errorname", "")  # errors that Python itself raises have none


def _opened(name: str, *, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=_LOOK_SECONDS, isolation_level=None, uri=uri)
    try:
        db.row_factory = sqlite3.Row
        # NORMAL is safe in WAL mode: a power cut may lose the last transaction, never the database.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        db.close()
        raise
    return db
