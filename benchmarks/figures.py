"""Samples with their unit and target, as a table and as JSON."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One thing that was measured: its samples in `unit`, and the bound that SPEC.md sets on their median.

    `target` is an upper bound, or a lower one when `more_is_better`; None when there is none.
    """

    name: str
    unit: str
    samples: Sequence[float]
    target: float | None = None
    more_is_better: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the median is within the target; None without one."""
        if self.target is None:
            return None
        return self.median >= self.target if self.more_is_better else self.median <= self.target

    def as_json(self) -> dict[str, object]:
        """Return what the table shows, and every sample, ready for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "median": round(self.median, 4),
            "min": round(min(self.samples), 4),
            "max": round(max(self.samples), 4),
            "runs": len(self.samples),
            "target": self.target,
            "more_is_better": self.more_is_better,
            "met": self.met,
            "samples": [round(sample, 4) for sample in self.samples],
        }

    def as_row(self) -> tuple[str, ...]:
        """Return the cells below `HEADING`."""
        bound = "" if self.target is None else f"{'≥' if self.more_is_better else '≤'} {_number(self.target)}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        numbers = (_number(value) for value in (self.median, min(self.samples), max(self.samples)))
        return (self.name, *numbers, self.unit, str(len(self.samples)), bound, verdict)


HEADING = ("WHAT", "MEDIAN", "MIN", "MAX", "UNIT", "RUNS", "TARGET", "")


def ratio(name: str, dividend: Figure, divisor: Figure, target: float | None = None) -> Figure:
    """Return the quotient of two medians of the same run, which does not depend on the speed of the host."""
    return Figure(name, "×", [dividend.median / divisor.median], target)


def table(figures: Sequence[Figure]) -> str:
    """Return aligned columns, with numbers to the right."""
    rows = [HEADING, *(figure.as_row() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADING))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in {1, 2, 3, 5} else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def installed_environ() -> dict[str, str]:
    """Return our environment without PYTHONDONTWRITEBYTECODE: an installed package has its modules compiled."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def milliseconds(step: Callable[..., object], *arguments: object) -> float:
    """Return how long `step` takes."""
    started = time.perf_counter()
    step(*arguments)
    return (time.perf_counter() - started) * 1000


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3f}"
