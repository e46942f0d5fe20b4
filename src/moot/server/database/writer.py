"""The one thread that writes. Functions that wait for it share a transaction, and so one flush to the disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from moot.server.database.changes import Change, encoded
from moot.server.database.failures import breaks_all, database_failure
from moot.server.database.transaction import Transaction
from moot.server.errors import Unavailable

_log = logging.getLogger("moot.server")
CHANNEL = "moot"
"""The channel on which PostgreSQL announces changes to the other server processes."""
_MOST_IN_ONE_COMMIT = 200
_SEE_LOG = "see the server's log; then try again"

Result = TypeVar("Result")
Work = Callable[[Transaction], Any]


class Writer:
    """A thread with a queue of functions. Each function has a savepoint: when it fails, only its part is undone."""

    def __init__(
        self, engine: Engine, announce: Callable[[Sequence[Change]], None], *, acknowledge_seconds: float
    ) -> None:
        self._engine = engine
        self._acknowledge_seconds = acknowledge_seconds
        self._announce = announce
        self._waiting: deque[tuple[Work, Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="moot-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Transaction], Result]) -> Future[Result]:
        """Queue a function; the future has its result after the commit."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("the server is stopping", hint="try again in a few seconds")
            self._waiting.append((work, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Carry out what is queued, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while not (self._closed and not self._waiting):
            if batch := self._next_batch():
                try:
                    self._commit(batch)
                except BaseException as error:  # noqa: BLE001 - without this thread, every write would wait for ever
                    _log.exception("a commit failed")
                    for future in [future for _, future in batch if not future.done()]:
                        future.set_exception(Unavailable(f"a change failed: {type(error).__name__}", hint=_SEE_LOG))

    def _next_batch(self) -> list[tuple[Work, Future[Any]]]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_IN_ONE_COMMIT))]
        # A function whose caller has cancelled it is left out.
        return [(work, future) for work, future in taken if future.set_running_or_notify_cancel()]

    def _commit(self, batch: list[tuple[Work, Future[Any]]]) -> None:
        done: list[tuple[Future[Any], Any, Exception | None]] = []
        changes: list[Change] = []
        try:
            with self._engine.begin() as connection:
                for work, future in batch:
                    transaction = Transaction(connection, acknowledge_seconds=self._acknowledge_seconds)
                    try:
                        with connection.begin_nested():
                            done.append((future, work(transaction), None))
                        changes += [one for one in transaction.changes if one not in changes]
                    except Exception as error:  # it is raised where the function was submitted
                        if breaks_all(error):
                            raise
                        done.append((future, None, error))
                if self._engine.dialect.name == "postgresql":
                    for change in changes:
                        connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (CHANNEL, encoded(change)))
        except SQLAlchemyError as error:
            # Nothing of the transaction is in the database.
            for _, future in batch:
                future.set_exception(database_failure(error, "the database did not accept a change"))
            return
        for future, result, failure in done:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(result)
        if changes:
            self._announce(changes)
