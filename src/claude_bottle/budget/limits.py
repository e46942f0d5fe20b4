"""The limits of a bottle: for one run, for a day and for all runs, each in tokens, dollars and requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from claude_bottle.budget.prices import dollars, picodollars

Span = Literal["run", "day", "bottle"]
Unit = Literal["requests", "tokens", "usd"]
SPANS: tuple[Span, ...] = get_args(Span)
UNITS: tuple[Unit, ...] = get_args(Unit)
SPAN_TEXTS: dict[Span, str] = {"run": "one run", "day": "one day (UTC)", "bottle": "all runs together"}
_NOW = {"run": "this run has", "day": "this day (UTC) has", "bottle": "all runs of this bottle have"}


@dataclass(frozen=True)
class Amounts:
    """Numbers of requests and tokens, and picodollars."""

    requests: int = 0
    tokens: int = 0
    usd: int = 0

    def of(self, unit: Unit) -> int:
        """Return the number of one unit."""
        return int(getattr(self, unit))

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(self.requests + other.requests, self.tokens + other.tokens, self.usd + other.usd)


@dataclass(frozen=True)
class Limit:
    """One limit: at most `most` of `unit` (dollars as picodollars) within `span`."""

    span: Span
    unit: Unit
    most: int

    def text(self, used: int) -> str:
        """Return "SPAN has used N of M UNIT"."""
        return f"{_NOW[self.span]} used {amount(self.unit, used)} of {amount(self.unit, self.most)}"

    def raised(self, by: int) -> Limit:
        """Return the limit with more in it."""
        return replace(self, most=self.most + by)


def amount(unit: Unit, number: int) -> str:
    """Return a number of a unit for a person."""
    return dollars(number) if unit == "usd" else f"{number:,} {unit}"


def limits_of(budget: Mapping[str, Any]) -> tuple[Limit, ...]:
    """Return the limits in the key `budget` of a manifest, as JSON."""
    return tuple(_limits(budget))


def _limits(budget: Mapping[str, Any]) -> Iterator[Limit]:
    for span in SPANS:
        given = budget if span == "run" else budget.get(span) or {}
        for unit in UNITS:
            if given.get(unit) is not None:
                yield Limit(span, unit, in_unit(unit, given[unit]))


def in_unit(unit: Unit, number: float) -> int:
    """Return a number of a manifest or a person in the form of a `Limit`: dollars as picodollars."""
    return picodollars(number) if unit == "usd" else int(number)
