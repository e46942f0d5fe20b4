"""Invitations: a person lets another one into the tenant, with a code that works once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select, update

from moot.id_encoding import new_id
from moot.server import clock
from moot.server.admin import accounts
from moot.server.admin.accounts import NewUser
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden
from moot.server.identity import personal
from moot.server.identity.callers import Caller
from moot.server.identity.tokens import CODE, hash_of, new_token
from moot.server.results import Invite, NewInvite
from pyro_mcp.errors import Conflict, NotFound

_DAY_SECONDS = 86_400
_MOST_OPEN = 100
_invites = tables.invites


def create(tx: Transaction, caller: Caller, *, expires_in_days: int) -> NewInvite:
    """Make an invitation into the caller's tenant. Raises `Forbidden` for an agent."""
    personal.require_human(caller)
    if len([one for one in all_of(tx, caller) if one.redeemed_at is None and one.expires_at > tx.now]) >= _MOST_OPEN:
        raise Conflict(f"A tenant has at most {_MOST_OPEN} open invitations", hint="delete some")
    code, invite_id = new_token(CODE), new_id("inv")
    times = {"created_at": tx.now, "expires_at": clock.seconds_from_now(expires_in_days * _DAY_SECONDS)}
    who = {"tenant_id": caller.tenant_id, "created_by": caller.actor_id}
    tx.execute(insert(_invites).values(invite_id=invite_id, code_hash=hash_of(code), **who, **times))
    return NewInvite(**_find(tx, caller, invite_id).model_dump(), code=code)


def all_of(tx: Transaction, caller: Caller) -> list[Invite]:
    """Return the last invitations into the caller's tenant, at most 1,000. Raises `Forbidden` for an agent."""
    personal.require_human(caller)
    statement = select(_invites).where(_invites.c.tenant_id == caller.tenant_id)
    rows = tx.rows(statement.order_by(_invites.c.created_at.desc()).limit(1000))
    return [_invite(row) for row in reversed(rows)]


def revoke(tx: Transaction, caller: Caller, invite_id: str) -> None:
    """Delete an invitation that was not redeemed. Raises `NotFound` and `Conflict`."""
    personal.require_human(caller)
    if _find(tx, caller, invite_id).redeemed_at is not None:
        raise Conflict("The invitation was redeemed already")
    tx.execute(_invites.delete().where(_invites.c.invite_id == invite_id))


def redeem(tx: Transaction, code: str, name: str) -> NewUser:
    """Make a person in the tenant of an invitation, with a token, a space and agents.

    Raises `NotFound` for a code that is unknown, used or expired, and `Conflict` for a name that is taken.
    """
    still = (_invites.c.code_hash == hash_of(code), _invites.c.redeemed_at.is_(None), _invites.c.expires_at > tx.now)
    statement = select(_invites, tables.tenants.c.suspended_at).join(tables.tenants)
    row = tx.first(statement.where(*still))
    if row is None:
        raise NotFound("This invitation is not valid", hint="ask for a new one")
    if row.suspended_at is not None:
        raise Forbidden("Tenant is suspended")
    made = accounts.add_user(tx, name, tenant_id=row.tenant_id)
    done = {"redeemed_at": tx.now, "redeemed_by": made.actor_id}
    tx.execute(update(_invites).where(_invites.c.invite_id == row.invite_id).values(**done))
    return made


def _find(tx: Transaction, caller: Caller, invite_id: str) -> Invite:
    mine = (_invites.c.tenant_id == caller.tenant_id, _invites.c.invite_id == invite_id)
    row = tx.first(select(_invites).where(*mine))
    if row is None:
        raise NotFound(f"There is no invitation {invite_id}")
    return _invite(row)


def _invite(row: Row[Any]) -> Invite:
    return Invite.model_validate({name: getattr(row, name) for name in Invite.model_fields})
