"""The caller that a key belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden, Unauthenticated
from moot.server.identity.tokens import hash_of

_HINT = "send a key: Authorization: Bearer …"


@dataclass(frozen=True)
class Caller:
    """An actor that has shown a valid key."""

    actor_id: str
    tenant_id: str
    actor_type: str
    display_name: str
    is_admin: bool
    credential_id: str

    @property
    def is_human(self) -> bool:
        return self.actor_type == "human"


def authenticate(tx: Transaction, token: str) -> Caller:
    """Return the caller that this key belongs to.

    Raises `Unauthenticated` when the key is unknown, revoked or expired, and `Forbidden` when its tenant is suspended.
    """
    if not token:
        raise Unauthenticated("This call needs a key", hint=_HINT)
    credentials, actors, tenants = tables.credentials.c, tables.actors.c, tables.tenants.c
    found = tx.first(
        select(
            actors.actor_id,
            actors.tenant_id,
            actors.actor_type,
            actors.display_name,
            actors.is_admin,
            credentials.credential_id,
            credentials.expires_at,
            tenants.suspended_at,
        )
        .select_from(tables.credentials.join(tables.actors).join(tables.tenants))
        .where(credentials.token_hash == hash_of(token), credentials.revoked_at.is_(None), actors.deleted_at.is_(None))
    )
    if found is None or (found.expires_at is not None and found.expires_at <= tx.now):
        raise Unauthenticated("This key is not valid", hint="ask for a new one: moot server token create")
    if found.suspended_at is not None:
        raise Forbidden("Tenant is suspended")
    values = dict(found._mapping)
    del values["expires_at"], values["suspended_at"]
    return Caller(**values)
