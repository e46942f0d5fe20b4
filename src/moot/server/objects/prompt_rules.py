"""Prompt rules: instructions of people for the agents of a tenant, or of one space of it.

The server keeps them for clients that ask for them, and adds them to no other answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from moot.id_encoding import new_id
from moot.server.database import tables
from moot.server.database.transaction import Transaction
from moot.server.identity import personal
from moot.server.identity.callers import Caller
from moot.server.results import PromptRule
from moot.server.spaces import spaces
from pyro_mcp.errors import Conflict, NotFound

_MOST_RULES = 1000
_rules = tables.prompt_rules


def add(tx: Transaction, caller: Caller, values: Mapping[str, Any]) -> PromptRule:
    """Make a rule. Raises `Forbidden` for an agent, `NotFound` for an unknown space, `Conflict` for too many rules."""
    _require(tx, caller, values)
    number = select(func.count()).select_from(_rules).where(_rules.c.tenant_id == caller.tenant_id)
    if tx.execute(number).scalar_one() >= _MOST_RULES:
        raise Conflict(f"A tenant has at most {_MOST_RULES} prompt rules", hint="delete some")
    rule_id = new_id("rul")
    who = {"tenant_id": caller.tenant_id, "created_by": caller.actor_id, "created_at": tx.now, "updated_at": tx.now}
    tx.execute(insert(_rules).values(rule_id=rule_id, **who, **values))
    return get(tx, caller, rule_id)


def get(tx: Transaction, caller: Caller, rule_id: str) -> PromptRule:
    """Return a rule of the caller's tenant. Raises `NotFound`."""
    row = tx.first(select(_rules).where(_rules.c.tenant_id == caller.tenant_id, _rules.c.rule_id == rule_id))
    if row is None:
        raise NotFound(f"There is no prompt rule {rule_id}")
    return _rule(row)


def all_of(tx: Transaction, caller: Caller, space_id: str | None) -> list[PromptRule]:
    """Return the rules of the caller's tenant, in the order of their making; with `space_id`, those for that space."""
    statement = select(_rules).where(_rules.c.tenant_id == caller.tenant_id)
    if space_id is not None:
        spaces.find(tx, caller, space_id)
        statement = statement.where(_rules.c.space_id.is_(None) | (_rules.c.space_id == space_id))
    return [_rule(row) for row in tx.rows(statement.order_by(_rules.c.created_at, _rules.c.rule_id))]


def change(tx: Transaction, caller: Caller, rule_id: str, changes: Mapping[str, Any]) -> PromptRule:
    """Set fields of a rule. Raises `Forbidden` for an agent, and `NotFound`."""
    _require(tx, caller, changes)
    get(tx, caller, rule_id)
    tx.execute(update(_rules).where(_rules.c.rule_id == rule_id).values(**changes, updated_at=tx.now))
    return get(tx, caller, rule_id)


def remove(tx: Transaction, caller: Caller, rule_id: str) -> None:
    """Remove a rule. Raises `Forbidden` for an agent, and `NotFound`."""
    personal.require_human(caller)
    get(tx, caller, rule_id)
    tx.execute(delete(_rules).where(_rules.c.rule_id == rule_id))


def _require(tx: Transaction, caller: Caller, values: Mapping[str, Any]) -> None:
    personal.require_human(caller)
    if values.get("space_id") is not None:
        spaces.find(tx, caller, values["space_id"])


def _rule(row: Row[Any]) -> PromptRule:
    return PromptRule.model_validate({name: getattr(row, name) for name in PromptRule.model_fields})
