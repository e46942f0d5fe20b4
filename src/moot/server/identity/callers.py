"""The caller that a key belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden, Unauthenticated
from moot.server.identity.tokens import hash_of

GRANTED_KIND = "oauth"
_HINT = "send a key: Authorization: Bearer …"


@dataclass(frozen=True)
class Caller:
    """An actor that has shown a valid key."""

    actor_id: str
    tenant_id: str
    actor_type: str
    display_name: str
    is_admin: bool
    credential_id: str = ""

    @property
    def is_human(self) -> bool:
        return self.actor_type == "human"


# Built once: each call begins with it, and to build a statement takes longer than to execute it.
_FIND = (
    select(
        tables.actors.c.actor_id,
        tables.actors.c.tenant_id,
        tables.actors.c.actor_type,
        tables.actors.c.display_name,
        tables.actors.c.is_admin,
        tables.credentials.c.credential_id,
        tables.credentials.c.kind,
        tables.credentials.c.expires_at,
        tables.tenants.c.suspended_at,
    )
    .select_from(tables.credentials.join(tables.actors).join(tables.tenants))
    .where(
        tables.credentials.c.token_hash == bindparam("token_hash"),
        tables.credentials.c.revoked_at.is_(None),
        tables.actors.c.deleted_at.is_(None),
    )
)


INSTALL = "team:install"
"""The scope of the keys that programs fetch by OAuth: they may install teams, and nothing else."""


def authenticate(tx: Transaction, token: str, *, scope: str = "") -> Caller:
    """Return the caller that this key belongs to. A key with a scope is good for calls of this `scope` alone.

    Raises `Unauthenticated` when the key is unknown, revoked or expired, and `Forbidden` when its tenant is suspended.
    """
    if not token:
        raise Unauthenticated("This call needs a key", hint=_HINT)
    found = tx.execute(_FIND, {"token_hash": hash_of(token)}).first()
    if found is None or (found.expires_at is not None and found.expires_at <= tx.now):
        raise Unauthenticated("This key is not valid", hint="ask for a new one: moot server token create")
    if found.suspended_at is not None:
        raise Forbidden("Tenant is suspended")
    if found.kind == GRANTED_KIND and scope != INSTALL:
        raise Forbidden("This key may only install teams", hint="use a personal access token")
    return Caller(*found[:6])  # type: ignore[call-arg] # the columns are in the order of its fields
