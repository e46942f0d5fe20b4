"""The errors of database drivers as errors of the server: one that cannot be reached, is damaged, or too slow."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DatabaseError, DBAPIError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection

from moot.server.errors import DatabaseFailed, Unavailable

_SEE_LOG = "see the server's log; then try again"
_RESTORE = "restore a backup: moot server restore FILE"


def breaks_all(error: BaseException) -> bool:
    """Return whether an error is one of the database itself, not of one statement."""
    return isinstance(error, OperationalError | InternalError | NoConnection) or _is_damage(error)


def database_failure(error: SQLAlchemyError, what: str) -> Unavailable:
    """Return the error of the server for one of a driver; `what` says what the database did not do."""
    if isinstance(error, NoConnection):
        return Unavailable("the server is overloaded", hint="try again in a few seconds")
    cause = str(error.orig if isinstance(error, DBAPIError) else error).strip().partition("\n")[0]
    if _is_damage(error):
        return DatabaseFailed(f"the database is damaged: {cause}", hint=_RESTORE)
    return DatabaseFailed(f"{what}: {cause}", hint=_SEE_LOG)


def _is_damage(error: BaseException) -> bool:
    """Return whether SQLite has found a file that is not, or not any more, a database."""
    return isinstance(error, DatabaseError) and type(error.orig) is sqlite3.DatabaseError
