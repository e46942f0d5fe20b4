"""The use of bottles' budgets, for persons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from claude_bottle.budget.ledger import Ledger, ledger_path
from claude_bottle.budget.limits import SPAN_TEXTS, Limit, Unit, amount, in_unit, limits_of
from claude_bottle.budget.prices import PICODOLLARS
from claude_bottle.results import BudgetUse, PlannedLimit


def uses_of(slugs: Sequence[str]) -> dict[str, list[BudgetUse]]:
    """Return the use of each limit of these bottles, by slug; a bottle without a budget is left out."""
    path = ledger_path()
    if not path.exists():
        return {}
    found: dict[str, list[BudgetUse]] = {}
    with Ledger(path) as ledger:
        for slug, (run, limits) in ledger.runs(slugs).items():
            spent = ledger.spent(run)
            found[slug] = [
                _use(limit, spent[limit.span].used.of(limit.unit), spent[limit.span].reserved.of(limit.unit))
                for limit in limits
            ]
    return found


def use_text(use: BudgetUse) -> str:
    """Return the use of one limit in a few words."""
    unit = use["unit"]
    used, limit = (amount(unit, in_unit(unit, use[key])) for key in ("used", "limit"))
    reserved = f" and {amount(unit, in_unit(unit, use['reserved']))} reserved" if use["reserved"] else ""
    span = "" if use["span"] == "run" else f" ({use['span']})"
    return f"{used}{reserved} of {limit}{span}"


def planned_limits(budget: Mapping[str, Any]) -> list[PlannedLimit]:
    """Return the limits in the key `budget` of a manifest, as JSON."""
    return [{"span": one.span, "unit": one.unit, "limit": _number(one.unit, one.most)} for one in limits_of(budget)]


def limit_text(limit: PlannedLimit) -> str:
    """Return a limit in a few words."""
    return f"{amount(limit['unit'], in_unit(limit['unit'], limit['limit']))} for {SPAN_TEXTS[limit['span']]}"


def _use(limit: Limit, used: int, reserved: int) -> BudgetUse:
    return {
        "span": limit.span,
        "unit": limit.unit,
        "used": _number(limit.unit, used),
        "reserved": _number(limit.unit, reserved),
        "limit": _number(limit.unit, limit.most),
    }


def _number(unit: Unit, number: int) -> float:
    """Return a number of the ledger as results have it: picodollars as dollars."""
    return number / PICODOLLARS if unit == "usd" else number
