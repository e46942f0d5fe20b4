"""Keys that were made with another key: a browser's session, and what a program fetched. They end with that key."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, insert, or_, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.changes import AccessChanged
from moot.server.database.transaction import Transaction
from moot.server.identity.tokens import hash_of, new_token, shown_prefix

_credentials = tables.credentials


def create(
    tx: Transaction, actor_id: str, beginning: str, *, kind: Literal["session", "oauth"], parent_id: str, seconds: float
) -> str:
    """Make a key of an actor that ends with the key `parent_id`, or after this time; return it."""
    token = new_token(beginning)
    tx.execute(
        insert(_credentials).values(
            token_hash=hash_of(token),
            credential_id=new_id("ses" if kind == "session" else "oau"),
            actor_id=actor_id,
            kind=kind,
            name=parent_id,
            prefix=shown_prefix(token),
            created_at=tx.now,
            expires_at=clock.seconds_from_now(seconds),
        )
    )
    return token


def revoke(tx: Transaction, parent_id: str) -> None:
    """Make the keys invalid that were made with a key, and those that were made with them."""
    mine = select(_credentials.c.credential_id).where(_credentials.c.name == parent_id, _derived())
    which = or_(_credentials.c.name == parent_id, _credentials.c.name.in_(mine.scalar_subquery()))
    _revoke(tx, which)


def revoke_token(tx: Transaction, token: str) -> None:
    """Make such a key invalid, and those that were made with it; do nothing for another one."""
    row = tx.first(select(_credentials.c.credential_id).where(_credentials.c.token_hash == hash_of(token), _derived()))
    if row is not None:
        revoke(tx, row.credential_id)
        _revoke(tx, _credentials.c.credential_id == row.credential_id)


def _revoke(tx: Transaction, which: ColumnElement[bool]) -> None:
    still = (_derived(), _credentials.c.revoked_at.is_(None))
    statement = update(_credentials).where(*still, which).values(revoked_at=tx.now)
    for (actor_id,) in tx.execute(statement.returning(_credentials.c.actor_id)).all():
        tx.announce(AccessChanged(actor_id))


def _derived() -> ColumnElement[bool]:
    return _credentials.c.kind.in_(("session", "oauth"))
