"""The request of an agent for more budget: its rule, and how a person reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_bottle.budget.limits import SPANS, UNITS, Limit, Span, Unit, amount, in_unit, limits_of
from pyro_mcp.errors import Conflict, InvalidRequest

_MOST = {"requests": 100_000, "tokens": 10**9, "usd": 10_000}
_LEAST_DOLLARS = 0.0001


def budget_rule(given: Mapping[str, object], config: Mapping[str, Any]) -> dict[str, object]:
    """Return the one form of a request to add to a limit of the bottle: `span`, `unit` and the number `add`.

    The agent gives these three as `budget`. Raises `InvalidRequest`, and `Conflict` for a limit that the bottle does
    not have.
    """
    limits = limits_of(config.get("budget") or {})
    if not limits:
        raise Conflict("this bottle has no budget to raise", hint="go on")
    listed = ", ".join(f"{limit.unit} of the {limit.span}" for limit in limits)
    asked = given.get("budget")
    if not isinstance(asked, Mapping):
        raise InvalidRequest(
            "the argument 'budget' is missing", hint='give budget as {"span": "run", "unit": "usd", "add": 1}'
        )
    span, unit, add = asked.get("span", "run"), asked.get("unit"), asked.get("add")
    if span not in SPANS or unit not in UNITS:
        raise InvalidRequest(
            f"span is one of {', '.join(SPANS)}, unit one of {', '.join(UNITS)}", hint=f"there is a limit on: {listed}"
        )
    if not any((limit.span, limit.unit) == (span, unit) for limit in limits):
        raise Conflict(f"this bottle has no limit on the {unit} of the {span}", hint=f"there is one on: {listed}")
    least = _LEAST_DOLLARS if unit == "usd" else 1
    if isinstance(add, bool) or not isinstance(add, int | float) or not least <= add <= _MOST[unit]:
        raise InvalidRequest(f"add must be a number from {least:g} to {_MOST[unit]:,}", hint="ask again")
    if unit != "usd" and add != int(add):
        raise InvalidRequest(f"a number of {unit} is a whole number", hint="ask again")
    return {"span": span, "unit": unit, "add": round(float(add), 4) if unit == "usd" else int(add)}


def budget_text(rule: Mapping[str, object]) -> str:
    """Return the rule as one line for a person."""
    added = raise_of(rule)
    within = {"run": "this run", "day": "each day", "bottle": "all runs of the bottle"}[added.span]
    return f"use {amount(added.unit, added.most)} more of the model within {within}"


def raise_of(rule: Mapping[str, object]) -> Limit:
    """Return what an approved rule adds to a limit."""
    span, unit = _span(rule.get("span")), _unit(rule.get("unit"))
    add = rule.get("add")
    return Limit(span, unit, in_unit(unit, add if isinstance(add, int | float) else 0))


def _span(given: object) -> Span:
    return next((span for span in SPANS if span == given), "run")


def _unit(given: object) -> Unit:
    return next((unit for unit in UNITS if unit == given), "requests")
