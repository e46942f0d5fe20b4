"""The types of fields in requests: bounded, and without content that a database or an answer cannot hold."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from moot.server.identity.names import is_one_line

_DEEPEST = 32
_MOST_JSON_CHARACTERS = 65_536


def storable(text: str) -> str:
    """Return a text; raise `ValueError` when it has a NUL or half of a surrogate pair."""
    if "\x00" in text:
        raise ValueError("must not contain a NUL character")
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise ValueError("must not contain half of a surrogate pair")
    return text


def storable_object(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object; raise `ValueError` when it is too deep, too large, or holds what JSON does not have."""
    if _size(value, 1) > _MOST_JSON_CHARACTERS:
        raise ValueError(f"must have at most {_MOST_JSON_CHARACTERS} characters")
    return value


def _size(value: object, depth: int) -> int:
    if depth > _DEEPEST:
        raise ValueError(f"must be at most {_DEEPEST} levels deep")
    if isinstance(value, dict):
        return sum(_size(key, depth) + _size(inner, depth + 1) for key, inner in value.items()) + 2
    if isinstance(value, list):
        return sum(_size(inner, depth + 1) for inner in value) + 2
    if isinstance(value, str):
        return len(storable(value)) + 2
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not contain NaN or an infinite number")
    return 8 if not isinstance(value, int) or abs(value) < 2**63 else len(hex(value))


def one_line(text: str) -> str:
    """Return a text; raise `ValueError` when it is not one line of visible characters."""
    if not text.strip() or not is_one_line(text):
        raise ValueError("must be one line of visible characters")
    return text


def one_line_or_nothing(text: str) -> str:
    """Return a text; raise `ValueError` when it has more than one line, or invisible characters."""
    return one_line(text) if text else text


# What `storable` refuses, as far as a schema can say it.
_NO_NUL = {"pattern": "^[^\\u0000]*$"}
_NO_CONTROLS = {"pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"}
_STORABLE = AfterValidator(storable)
_STORABLE_OR_NONE = AfterValidator(lambda text: text and storable(text))

Identifier = Annotated[str, Field(min_length=1, max_length=200, json_schema_extra=_NO_NUL), _STORABLE]
Word = Annotated[str, Field(max_length=200, json_schema_extra=_NO_NUL), _STORABLE]
Name = Annotated[str, Field(min_length=1, max_length=500, json_schema_extra=_NO_NUL), _STORABLE]
ShownName = Annotated[
    str, Field(min_length=1, max_length=500, json_schema_extra=_NO_CONTROLS), _STORABLE, AfterValidator(one_line)
]
"""A name that texts for a model show: no line break in it can begin a line that looks like another message."""
ShownWord = Annotated[
    str, Field(max_length=200, json_schema_extra=_NO_CONTROLS), _STORABLE, AfterValidator(one_line_or_nothing)
]
Line = Annotated[str, Field(max_length=500, json_schema_extra=_NO_NUL), _STORABLE]
Body = Annotated[str, Field(max_length=65_536, json_schema_extra=_NO_NUL), _STORABLE]
Uri = Annotated[str, Field(max_length=2048, json_schema_extra=_NO_NUL), _STORABLE]
Uris = Annotated[list[Uri], Field(max_length=100)]
JsonObject = Annotated[dict[str, Any], AfterValidator(storable_object)]

InPath = Annotated[str, Path(max_length=200, json_schema_extra=_NO_NUL), _STORABLE]
Asked = Annotated[str | None, Query(max_length=200, json_schema_extra=_NO_NUL), _STORABLE_OR_NONE]
"""An optional word in the query."""
Moment = Annotated[str | None, Query(max_length=50, json_schema_extra={"format": "date-time"}), _STORABLE_OR_NONE]
"""An optional time in the query."""


def count(default: int, most: int) -> Any:
    """Return a number in the query from 1 up to `most`."""
    return Query(default=default, ge=1, le=most)
