"""Personal access tokens: the keys of people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.changes import AccessChanged
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden
from moot.server.identity import derived
from moot.server.identity.callers import Caller
from moot.server.identity.names import is_one_line
from moot.server.identity.tokens import PERSONAL, hash_of, new_token, shown_prefix
from moot.server.results import NewPersonalToken, PersonalToken
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound

_DAY_SECONDS = 86_400
_LONGEST_NAME = 64
_MOST_DAYS = 3650
_MOST_TOKENS = 100
_credentials = tables.credentials


def create(tx: Transaction, actor_id: str, name: str, *, expires_in_days: int | None = None) -> NewPersonalToken:
    """Make a token for a person. Raises `InvalidRequest`, and `Conflict` when it has too many."""
    if not 0 < len(name) <= _LONGEST_NAME or not name.strip() or not is_one_line(name):
        raise InvalidRequest(f"the name of a token is one line of 1 to {_LONGEST_NAME} visible characters")
    if expires_in_days is not None and not 1 <= expires_in_days <= _MOST_DAYS:
        raise InvalidRequest(f"a token expires after 1 to {_MOST_DAYS} days, or never")
    if len(of_actor(tx, actor_id)) >= _MOST_TOKENS:
        raise Conflict(f"A person has at most {_MOST_TOKENS} tokens", hint="revoke some: moot server token revoke ID")
    token = new_token(PERSONAL)
    expires_at = clock.seconds_from_now(expires_in_days * _DAY_SECONDS) if expires_in_days is not None else None
    made = NewPersonalToken(
        token_id=new_id("pat"),
        name=name,
        prefix=shown_prefix(token),
        created_at=tx.now,
        expires_at=expires_at,
        revoked_at=None,
        token=token,
    )
    values = made.model_dump(exclude={"token_id", "token"})
    more = {"credential_id": made.token_id, "actor_id": actor_id, "kind": "pat", "token_hash": hash_of(token)}
    tx.execute(insert(_credentials).values(**values, **more))
    return made


def of_actor(tx: Transaction, actor_id: str) -> list[PersonalToken]:
    """Return the tokens of a person that were not revoked, in the order of their making."""
    alive = (
        _credentials.c.actor_id == actor_id,
        _credentials.c.kind == "pat",
        _credentials.c.revoked_at.is_(None),
    )
    return [_token(row) for row in tx.rows(select(_credentials).where(*alive).order_by(_credentials.c.created_at))]


def revoke(tx: Transaction, actor_id: str, token_id: str) -> None:
    """Make a token of a person invalid from the commit on. Raises `NotFound`."""
    one = (
        _credentials.c.actor_id == actor_id,
        _credentials.c.kind == "pat",
        _credentials.c.credential_id == token_id,
        _credentials.c.revoked_at.is_(None),
    )
    if tx.execute(update(_credentials).where(*one).values(revoked_at=tx.now)).rowcount == 0:
        raise NotFound(f"There is no token {token_id}")
    derived.revoke(tx, token_id)
    tx.announce(AccessChanged(actor_id))


def require_human(caller: Caller) -> None:
    """Raise `Forbidden` when the caller is an agent."""
    if not caller.is_human:
        raise Forbidden("Only a person may do this")


def _token(row: Row[Any]) -> PersonalToken:
    values = dict(row._mapping)
    return PersonalToken.model_validate({**values, "token_id": values["credential_id"]})
