"""Changes that other server processes have committed to PostgreSQL: LISTEN, in a thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from moot.server.database.changes import Anything, decoded
from moot.server.database.database import Listener
from moot.server.database.engines import driver_url
from moot.server.database.writer import CHANNEL

_log = logging.getLogger("moot.server")
_LOOK_SECONDS = 0.5
_RETRY_SECONDS = 1.0


@contextmanager
def listening(url: str, listener: Listener) -> Iterator[None]:
    """Call a function with the changes that all server processes commit, while the block runs."""
    end = threading.Event()
    thread = threading.Thread(target=_listen, args=(driver_url(url), listener, end), name="moot-listener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _listen(url: str, listener: Listener, end: threading.Event) -> None:
    while not end.is_set():
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"LISTEN {CHANNEL}")
                # What was committed while nobody listened is found by looking once.
                listener([Anything()])
                while not end.is_set():
                    for notice in connection.notifies(timeout=_LOOK_SECONDS):
                        listener([decoded(notice.payload)])
        except psycopg.Error as error:
            _log.error("the database does not answer, and is asked again: %s", error)
            end.wait(_RETRY_SECONDS)
