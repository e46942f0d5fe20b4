"""Let this process be killed at a chosen function call: for programs that the crash tests run."""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any


def die_at(target: str, *, after: bool, count: int = 1) -> None:
    """Arrange for this process to be killed before or after the `count`th call of `target`, "module:name.name"."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    calls_left = count

    def killing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **options)
        if calls_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killing)
