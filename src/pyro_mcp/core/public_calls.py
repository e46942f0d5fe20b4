"""What all public methods of `Pyro` have in common: a name stands for an id, and every error is one of ours."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

from pyro_mcp.errors import own_errors

_T = TypeVar("_T")
_ARGUMENT = "workspace_id"
_ID = re.compile(r"ws-[0-9a-f]{12}")


def public_calls(cls: type[_T]) -> type[_T]:
    """Class decorator: let public methods take a workspace's unique name for its id, and raise only `PyroError`.

    The class has a method `_workspace_named` that returns the id for a name.
    """
    for name, method in inspect.getmembers(cls, inspect.isfunction):
        if not name.startswith("_"):
            setattr(cls, name, _guarded(method))
    return cls


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    names = list(inspect.signature(method).parameters)
    position = names.index(_ARGUMENT) - 1 if _ARGUMENT in names else None

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        with own_errors():
            if position is None:
                return method(self, *arguments, **options)
            if len(arguments) > position:
                given = _id_of(self, arguments[position])
                return method(self, *arguments[:position], given, *arguments[position + 1 :], **options)
            if _ARGUMENT in options:
                options[_ARGUMENT] = _id_of(self, options[_ARGUMENT])
            return method(self, *arguments, **options)

    return call


def _id_of(pyro: Any, given: Any) -> Any:
    if not isinstance(given, str) or _ID.fullmatch(given):
        return given
    return pyro._workspace_named(given)
