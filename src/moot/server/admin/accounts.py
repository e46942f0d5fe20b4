"""People, their tokens, and spaces, for an operator with access to the database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from moot.server.admin import templates
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity import actors, personal
from moot.server.identity.callers import Caller
from moot.server.results import NewPersonalToken, PersonalToken, Space
from moot.server.spaces import participants, spaces
from pyro_mcp.errors import InvalidRequest, NotFound

_actors = tables.actors
_SPACE_NAME = "Home"
FIRST_TEMPLATE = "loop-4"
"""The agents of a new person."""


@dataclass(frozen=True)
class NewUser:
    """A person who was just made, and the token that is shown once."""

    actor_id: str
    name: str
    tenant_id: str
    space_id: str
    token: str
    agents: dict[str, str]


def add_user(
    tx: Transaction, name: str, *, tenant_id: str | None = None, template: str = FIRST_TEMPLATE, is_admin: bool = False
) -> NewUser:
    """Make a person with a token, a default space and the agents of a template, which have no keys yet.

    Without `tenant_id` the person gets a new tenant. Raises `NotFound` for an unknown one.
    """
    if not name.strip() or len(name) > 500:
        raise InvalidRequest("the name of a person has 1 to 500 characters")
    if tenant_id is None:
        tenant_id = actors.new_tenant(tx, name)
    elif tx.first(select(tables.tenants).where(tables.tenants.c.tenant_id == tenant_id)) is None:
        raise NotFound(f"there is no tenant {tenant_id}")
    actor_id = actors.new_human(tx, tenant_id, name, is_admin=is_admin)
    person = Caller(actor_id, tenant_id, "human", name, is_admin)
    room = spaces.create(tx, person, name=_SPACE_NAME)
    participants.join(tx, room, actor_id)
    actors.change(tx, person, actor_id, {"default_space_id": room.space_id})
    agents = templates.add_agents(tx, person, room, template)
    token = personal.create(tx, actor_id, "first").token
    return NewUser(actor_id, name, tenant_id, room.space_id, token, agents)


def is_empty(tx: Transaction) -> bool:
    """Return whether the database has no tenant, because no server has run on it."""
    return tx.first(select(tables.tenants.c.tenant_id).limit(1)) is None


def person(tx: Transaction, wanted: str | None) -> Caller:
    """Return the person with this id or name; without one, the only person. Raises `NotFound` and `InvalidRequest`."""
    statement = select(_actors).where(_actors.c.actor_type == "human", _actors.c.deleted_at.is_(None))
    if wanted is not None:
        statement = statement.where((_actors.c.actor_id == wanted) | (_actors.c.display_name == wanted))
    found = tx.rows(statement)
    if not found:
        raise NotFound(f"there is no person {wanted}" if wanted else "there is no person", hint="moot server user add")
    if len(found) > 1:
        names = ", ".join(f"{row.display_name} ({row.actor_id})" for row in found[:10])
        raise InvalidRequest(f"there are several people: {names}", hint="name one by its id with --user")
    row = found[0]
    return Caller(row.actor_id, row.tenant_id, row.actor_type, row.display_name, row.is_admin)


def create_token(tx: Transaction, user: str | None, name: str, *, expires_in_days: int | None) -> NewPersonalToken:
    """Make a token for a person."""
    return personal.create(tx, person(tx, user).actor_id, name, expires_in_days=expires_in_days)


def tokens(tx: Transaction, user: str | None) -> list[PersonalToken]:
    """Return the tokens of a person."""
    return personal.of_actor(tx, person(tx, user).actor_id)


def revoke_token(tx: Transaction, token_id: str) -> None:
    """Make a token invalid. Raises `NotFound`."""
    credentials = tables.credentials.c
    row = tx.first(select(credentials.actor_id).where(credentials.credential_id == token_id))
    if row is None:
        raise NotFound(f"there is no token {token_id}", hint="moot server token list shows the ids")
    personal.revoke(tx, row.actor_id, token_id)


def all_spaces(tx: Transaction) -> list[tuple[str, Space]]:
    """Return all spaces, each with the id of its tenant."""
    keys = tx.rows(select(tables.spaces.c.space_key).order_by(tables.spaces.c.space_key))
    rooms = [spaces.by_key(tx, row.space_key) for row in keys]
    return [(room.tenant_id, room.shown()) for room in rooms]
