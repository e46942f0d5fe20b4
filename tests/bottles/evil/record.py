"""What is tried: the list of attempts, and the result of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bottles.evil.stage import Stage


@dataclass(frozen=True)
class Tried:
    """What the oracle saw: whether the control arrived, and whether the attempt achieved anything."""

    control: bool
    reached: bool
    said: str = ""


@dataclass(frozen=True)
class Attempt:
    """One attempt: its class in the table, what the agent tries, its positive control, and who tells the result."""

    id: str
    threat: str
    what: str
    control: str
    oracle: str
    run: Callable[[Stage], Tried]


@dataclass(frozen=True)
class Result:
    """The result of an attempt on one backend."""

    id: str
    threat: str
    what: str
    control: str
    oracle: str
    alive: bool
    reached: bool
    said: str


_OF_MODULE: dict[str, list[Attempt]] = {}


def attempt(
    threat: str, what: str, *, control: str, oracle: str
) -> Callable[[Callable[[Stage], Tried]], Callable[[Stage], Tried]]:
    """Add the decorated function to the attempts of its module; its name is the attempt's id."""

    def add(function: Callable[[Stage], Tried]) -> Callable[[Stage], Tried]:
        id_ = function.__name__.replace("_", "-")
        _OF_MODULE.setdefault(function.__module__, []).append(Attempt(id_, threat, what, control, oracle, function))
        return function

    return add


def attempts_of(module: str) -> list[Attempt]:
    """Return the attempts of a module, in their order."""
    return _OF_MODULE[module]


def result_of(tried: Attempt, found: Tried) -> Result:
    """Return the result of an attempt."""
    said = found.said[-600:]
    return Result(tried.id, tried.threat, tried.what, tried.control, tried.oracle, found.control, found.reached, said)
