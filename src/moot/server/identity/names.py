"""The names of actors: one visible line each, and no agent has the name of a person."""

from __future__ import annotations

import unicodedata

from sqlalchemy import select

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.results import ActorType
from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.visible import is_invisible

SERVER = "Space"
"""The name under which the server itself speaks."""
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_actors = tables.actors


def is_one_line(text: str) -> bool:
    """Return whether a text has no line break, no control character and no invisible formatting."""
    return not any(unicodedata.category(one) in _INVISIBLE for one in text)


def require_free(tx: Transaction, tenant_id: str, name: str, kind: ActorType, *, but: str = "") -> None:
    """Raise `InvalidRequest` for a name that cannot be shown, and `Conflict` for one that looks like somebody else.

    An agent must not look like a person of its tenant or like the server, and a person like nobody else. Agents may
    share a name: each installed team has its own. `but` is the id of the actor that gets the name.
    """
    looks = _looks(name)
    if not looks or not is_one_line(name):
        raise InvalidRequest("a name is one line of visible characters")
    others = select(_actors.c.display_name).where(_actors.c.tenant_id == tenant_id, _actors.c.actor_id != but)
    if kind == "agent":
        others = others.where(_actors.c.actor_type == "human")
    taken = {_looks(row.display_name) for row in tx.rows(others.where(_actors.c.deleted_at.is_(None)))}
    if looks in taken or looks == _looks(SERVER):
        raise Conflict(f"The name {name[:100]!r} belongs to somebody else", hint="choose another name")


def _looks(name: str) -> str:
    """Return what two names that look the same have in common: letters without case, width, spaces and blanks."""
    shown = (one for one in unicodedata.normalize("NFKC", name) if not is_invisible(one))
    return "".join("".join(shown).casefold().split())
