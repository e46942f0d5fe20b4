"""Let something happen at a chosen function call, such as the end of this process: for programs of the crash tests."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any


def die_at(target: str, *, after: bool, count: int = 1) -> None:
    """Arrange for this process to be killed before or after the `count`th call of `target`, "module:name.name"."""
    do_at(target, partial(os.kill, os.getpid(), signal.SIGKILL), after=after, count=count)


def do_at(target: str, act: Callable[[], object], *, after: bool, count: int = 1) -> None:
    """Arrange for one call of `act` before or after the `count`th call of `target`, "module:name.name"."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    calls_left = count

    def acting(*arguments: Any, **options: Any) -> Any:
        nonlocal calls_left
        calls_left -= 1
        its_turn = calls_left == 0
        if its_turn and not after:
            act()
        result = real(*arguments, **options)
        if its_turn and after:
            act()
        return result

    setattr(owner, name, acting)
