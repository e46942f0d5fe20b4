"""Keys that were made with another key: a browser's session, and what a program fetched. They end with that key."""

from __future__ import annotations

from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.database import tables
from moot.server.database.changes import AccessChanged
from moot.server.database.transaction import Transaction
from moot.server.identity.tokens import hash_of, new_token, shown_prefix

_credentials = tables.credentials
_grants = tables.grants


def create(
    tx: Transaction, actor_id: str, beginning: str, *, kind: Literal["session", "oauth"], parent_id: str, seconds: float
) -> str:
    """Make a key of an actor that ends with the key or the grant `parent_id`, or after this time; return it."""
    token = new_token(beginning)
    grantor = select(_grants.c.parent_id).where(_grants.c.grant_id == parent_id)
    made_with = or_(_credentials.c.credential_id == parent_id, _credentials.c.credential_id.in_(grantor))
    parent = tx.first(select(_credentials.c.expires_at).where(made_with))
    ends = [clock.seconds_from_now(seconds)]
    if parent is not None and parent.expires_at is not None:
        ends.append(parent.expires_at)
    tx.execute(delete(_credentials).where(_derived(), _credentials.c.expires_at <= tx.now))
    tx.execute(
        insert(_credentials).values(
            token_hash=hash_of(token),
            credential_id=new_id("ses" if kind == "session" else "oau"),
            actor_id=actor_id,
            kind=kind,
            name=parent_id,
            prefix=shown_prefix(token),
            created_at=tx.now,
            expires_at=min(ends),
        )
    )
    return token


def revoke(tx: Transaction, parent_id: str) -> None:
    """Make the keys invalid that were made with a key, or with what was allowed with it."""
    allowed = select(_grants.c.grant_id).where(_grants.c.parent_id == parent_id)
    _revoke(tx, or_(_credentials.c.name == parent_id, _credentials.c.name.in_(allowed)))


def revoke_token(tx: Transaction, token: str) -> None:
    """Make such a key invalid; do nothing for another one."""
    _revoke(tx, _credentials.c.token_hash == hash_of(token))


def parent_of(tx: Transaction, credential_id: str) -> str:
    """Return the id of the key with which a key was made; of any other key, its own id."""
    row = tx.first(select(_credentials.c.name).where(_credentials.c.credential_id == credential_id, _derived()))
    return credential_id if row is None else str(row.name)


def is_valid(tx: Transaction, credential_id: str) -> bool:
    """Return whether a key was neither revoked nor has expired."""
    still = (_credentials.c.credential_id == credential_id, _credentials.c.revoked_at.is_(None))
    row = tx.first(select(_credentials.c.expires_at).where(*still))
    return row is not None and (row.expires_at is None or row.expires_at > tx.now)


def _revoke(tx: Transaction, which: ColumnElement[bool]) -> None:
    still = (_derived(), _credentials.c.revoked_at.is_(None))
    statement = update(_credentials).where(*still, which).values(revoked_at=tx.now)
    for (actor_id,) in tx.execute(statement.returning(_credentials.c.actor_id)).all():
        tx.announce(AccessChanged(actor_id))


def _derived() -> ColumnElement[bool]:
    return _credentials.c.kind.in_(("session", "oauth"))
