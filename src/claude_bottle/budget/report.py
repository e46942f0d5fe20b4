"""What persons see of the budgets of their bottles."""

from __future__ import annotations

from collections.abc import Sequence

from claude_bottle.budget.ledger import Ledger, ledger_path
from claude_bottle.budget.limits import Limit, amount, in_unit
from claude_bottle.budget.prices import PICODOLLARS
from claude_bottle.results import BudgetUse


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


def _use(limit: Limit, used: int, reserved: int) -> BudgetUse:
    scale = PICODOLLARS if limit.unit == "usd" else 1
    return {
        "span": limit.span,
        "unit": limit.unit,
        "used": used / scale if scale > 1 else used,
        "reserved": reserved / scale if scale > 1 else reserved,
        "limit": limit.most / scale if scale > 1 else limit.most,
    }
