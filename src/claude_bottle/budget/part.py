"""The budget as a part of the guard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from claude_bottle.audit import Decision
from claude_bottle.budget.budget import Budget
from claude_bottle.budget.ledger import Ledger, Run, ledger_path
from claude_bottle.budget.limits import Limit, limits_of
from claude_bottle.budget.prices import Prices
from claude_bottle.budget.request_kind import raise_of
from claude_bottle.guard.part import Guarded, Part
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation

if TYPE_CHECKING:
    from claude_bottle.guard.settings import GuardSettings


def part(guarded: Guarded) -> BudgetPart | None:
    """Return the budget of the guard's bottle, None without one."""
    return BudgetPart(guarded) if limits_of(guarded.config.get("budget") or {}) else None


def run_of(settings: GuardSettings) -> Run:
    """Return the run of a launch: bottles of the same name whose limits are in different files have other budgets."""
    return Run(settings.guard, settings.slug, f"{settings.bottle} in {settings.budget_file}")


class BudgetPart(Part):
    """The part of the guard that decides about requests to models."""

    def __init__(self, guarded: Guarded) -> None:
        given = guarded.config["budget"]
        self._guarded = guarded
        self._ledger = Ledger(ledger_path())
        self._budget = Budget(
            self._ledger,
            run_of(guarded.settings),
            limits_of(given),
            Prices(given.get("prices")),
            raises=self._raises,
            record=self._record,
            advice=_advice(guarded),
        )

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal | None:
        return self._budget.model_request(request)

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        self._budget.model_usage(reservation, usage)

    def changed(self) -> None:
        self._budget.announce()

    def close(self) -> None:
        self._ledger.close()

    def _raises(self) -> Iterator[Limit]:
        return (raise_of(request.rule) for request in self._guarded.approvals.granted("budget"))

    def _record(self, decision: Decision, rule: str, what: dict[str, object]) -> None:
        self._guarded.record("budget", decision, rule=rule, what=what)


def _advice(guarded: Guarded) -> str:
    """Return what the agent can do about a refusal."""
    supervise = guarded.config.get("supervise")
    if isinstance(supervise, dict) and "budget" in supervise.get("capabilities", ()):
        return (
            " Stop, or ask a person for more with the tool request_capability "
            '(kind "budget", budget for example {"span": "run", "unit": "usd", "add": 1}).'
        )
    return " Stop here: this agent cannot ask for more; the person who launched it sets the budget."
