"""Translate pydantic's errors into problems, with their path in the file and, for a misspelt word, the near match."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from claude_bottle.errors import Problem
from pyro_mcp.hints import near_match

_PLAIN = re.compile(r"[A-Za-z_$][A-Za-z0-9_-]*", re.ASCII)
_LONGEST_SHOWN = 80
_MOST = 100

# What a value should have been, by the type of pydantic's error.
_WANTED = {
    "bool_type": "true or false",
    "dict_type": "an object (in TOML: a table)",
    "float_type": "a number",
    "int_type": "a whole number",
    "mapping_type": "an object (in TOML: a table)",
    "model_attributes_type": "an object (in TOML: a table)",
    "model_type": "an object (in TOML: a table)",
    "string_type": "a text",
    "tuple_type": "a list",
}
_LIMITS = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "missing": "is missing",
    "too_long": "has more than {max_length} entries",
}


class Fault(ValueError):
    """An error that a model's validator raises about a value inside the model, at the path `below`."""

    def __init__(self, below: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.below = below


def problems_of(error: ValidationError, model: type[BaseModel], *, partly: bool = False) -> tuple[Problem, ...]:
    """Return the first 100 problems that a validation of `model` has found, in the order of the fields.

    With `partly`, a missing key is not a problem.
    """
    found = [one for one in error.errors(include_url=False) if not (partly and one["type"] == "missing")]
    located = (_located(one, model) for one in found[:_MOST])
    return tuple(Problem(shown_path(where), message) for where, message in located)


def _located(one: Mapping[str, Any], model: type[BaseModel]) -> tuple[tuple[str | int, ...], str]:
    where: tuple[str | int, ...] = tuple(part for part in one["loc"] if part != "[key]")
    cause = one.get("ctx", {}).get("error")
    if isinstance(cause, Fault):
        where += cause.below
    return where, _message(one, cause, where, model)


def _message(one: Mapping[str, Any], cause: object, where: Sequence[str | int], model: type[BaseModel]) -> str:
    kind, context = one["type"], one.get("ctx", {})
    if kind == "value_error":
        return str(cause)
    if kind == "extra_forbidden":
        return unknown_key(str(where[-1]), known_keys(model, where[:-1]))
    if kind == "literal_error":
        return _unknown_choice(one["input"], re.findall(r"'([^']*)'", context["expected"]))
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {kind_of(one['input'])}"
    return _LIMITS[kind].format(**context) if kind in _LIMITS else str(one["msg"])


def _unknown_choice(value: object, known: Sequence[str]) -> str:
    if not isinstance(value, str):
        return f"must be a text, not {kind_of(value)}"
    return f"{shortened(value)!r} is not known; {near_match(value, known) or 'choose from ' + ', '.join(known)}"


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the message about an unknown key, with a near match or the known keys."""
    near = near_match(key, known)
    return f"there is no such key; {near or 'the known keys are ' + ', '.join(known)}"


def known_keys(model: type[BaseModel], where: Sequence[str | int]) -> list[str]:
    """Return the keys of the object at `where` below `model`; a name or an index steps into any dict or list."""
    for part in where:
        if part in model.model_fields:
            model = _model_in(model.model_fields[str(part)].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a field, or of the values that its dict or list has."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one))), None)


def shown_path(where: Sequence[str | int]) -> str:
    """Return a path as a person writes it: `bottles.dev.egress[2].host`; other keys are quoted, with escapes."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.fullmatch(part) and len(part) <= _LONGEST_SHOWN:
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(shortened(part))}]"
    return text


def shortened(text: str) -> str:
    """Return a text that fits a message."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def kind_of(value: object) -> str:
    """Return the type of a value, in the words of JSON and TOML."""
    kinds = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (list | tuple, "a list"))
    return next((kind for type_, kind in (*kinds, (dict, "an object")) if isinstance(value, type_)), _other(value))


def _other(value: object) -> str:
    return "null" if value is None else f"a {type(value).__name__}"
