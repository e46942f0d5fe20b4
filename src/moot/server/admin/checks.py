"""The checks of a server's data, one line each."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text

from moot.server.database import schema, tables
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
        version = database.schema_version()
    except PyroError as error:
        return [Check("the database answers", error.message)]
    found = [Check("the database answers")]
    if version != schema.newest():
        wrong = f"it is {version or 'missing'}, not {schema.newest()}; moot serve upgrades it"
        return [*found, Check("the schema is the newest", wrong)]
    found.append(Check("the schema is the newest"))
    if not database.is_postgresql:
        sound = database.read(lambda tx: str(tx.execute(text("PRAGMA quick_check")).scalar_one()))
        found.append(Check("the file is sound", "" if sound == "ok" else f"{sound[:200]}; restore a backup"))
    holes = database.read(_spaces_with_holes)
    found.append(Check("each log has no hole", f"there are some in {', '.join(holes)}" if holes else ""))
    people = database.read(lambda tx: tx.execute(select(func.count()).select_from(tables.actors)).scalar_one())
    found.append(Check("there is a person", "" if people else "moot server user add NAME"))
    return found


def _spaces_with_holes(tx: Transaction) -> list[str]:
    spaces, events = tables.spaces.c, tables.events.c
    there = select(func.count()).where(events.space_key == spaces.space_key).correlate(tables.spaces).scalar_subquery()
    wrong = select(spaces.space_id).where(there != spaces.last_sequence - spaces.pruned_sequence)
    return [row.space_id for row in tx.rows(wrong)]
