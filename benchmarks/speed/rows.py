"""The rows of docs/speed.md, with the targets that SPEC.md promises."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.speed.programs import PROGRAMS
from benchmarks.speed.projects import BUILDS, SUITES

COLUMNS = ("host", "docker", "kvm", "uml", "tcg")

Samples = Mapping[str, Sequence[float]]
"""Of one row: column → what was measured there."""


@dataclass(frozen=True)
class Target:
    """A bound on the median of a column; with `of`, on its quotient by the median of that column."""

    column: str
    bound: float
    of: str = ""
    at_least: bool = False

    def promise(self, row: Row) -> str:
        """Return the promise as SPEC.md has it."""
        bound = f"{self.bound:g} × {self.of}" if self.of else f"{self.bound:g} {row.unit}"
        return f"{row.title}, {self.column}: at {'least' if self.at_least else 'most'} {bound}"

    def verdict(self, samples: Samples) -> str:
        """Return what was reached, as a cell of the table."""
        if not all(samples.get(name) for name in (self.column, self.of) if name):
            return "not measured here"
        value = statistics.median(samples[self.column])
        value /= statistics.median(samples[self.of]) if self.of else 1
        reached = value >= self.bound if self.at_least else value <= self.bound
        sign, times = "≥" if self.at_least else "≤", f" × {self.of}" if self.of else ""
        return (
            f"{self.column} {shown(value)} {sign} {self.bound:g}{times}"
            if reached
            else (f"**not reached**: {self.column} {shown(value)} of {self.bound:g}{times}")
        )


@dataclass(frozen=True)
class Row:
    """One thing that is measured in several columns; `base` is the column by which the others are divided."""

    title: str
    unit: str
    targets: tuple[Target, ...] = ()
    base: str = "docker"


SPARE, FIRST, COMMAND = "create → first result, a spare there", "create → first result, no spare", "the whole command"
EXEC, DELETE, MEMORY = "exec `true`", "delete", "private memory of an idle machine of 1 GiB"
OUT, INTO = "bulk, guest → host", "bulk, host → guest"
MANY = {12: "12 machines at once", 20: "20 machines at once"}

LIVES = (
    Row(SPARE, "ms", tuple(Target(name, 0.4, "docker") for name in ("uml", "tcg"))),
    Row(FIRST, "ms", (Target("uml", 0.7, "docker"),)),
    Row(COMMAND, "ms"),
    Row(EXEC, "ms", (Target("uml", 0.2, "docker"),)),
    Row(MANY[12], "s", (Target("uml", 1.0),)),
    Row(MANY[20], "s", (Target("uml", 2.0),)),
    Row(DELETE, "ms"),
    Row(MEMORY, "MB", (Target("uml", 25), Target("tcg", 45))),
    Row(OUT, "MB/s", (Target("uml", 200, at_least=True),)),
    Row(INTO, "MB/s", (Target("uml", 200, at_least=True),)),
)
PROGRAM_ROWS = tuple(Row(name, "ms", base="host") for name in PROGRAMS)
PROJECT_ROWS = (
    *(Row(one.title, "s", (Target("uml", 1.5, "host"),), "host") for one in SUITES),
    *(Row(one.title, "s", (Target("uml", 2.5, "host"),), "host") for one in BUILDS),
)
ROWS = (*LIVES, *PROGRAM_ROWS, *PROJECT_ROWS)


def shown(value: float) -> str:
    """Return a number with three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
