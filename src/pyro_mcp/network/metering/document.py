"""The JSON of a request to the API of a model, read so that the API cannot read it differently."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

Json = dict[str, Any]
_LONGEST_SHOWN = 80
_one_at_a_time = threading.Lock()


class Uncountable(Exception):
    """A request whose use cannot be bounded; the message says why, for the guest."""


def read_document(content: bytes, visit: Callable[[Json], None]) -> Json:
    """Return the object that `content` holds; `visit` is called for each object in it, the inner ones first.

    A key that is there twice is refused, because parsers differ in which of the two they take. Raises `Uncountable`.
    """

    def check(pairs: list[tuple[str, Any]]) -> Json:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Uncountable("an object in its JSON has a key twice")
        visit(found)
        return found

    try:
        with _one_at_a_time:  # the objects of a hostile text take up to thirty times its size
            document = json.loads(content.decode("utf-8"), object_pairs_hook=check, parse_constant=_no_constant)
    except (ValueError, RecursionError, MemoryError):
        raise Uncountable("its content is not JSON that can be read") from None
    if not isinstance(document, dict):
        raise Uncountable("its content is not a JSON object")
    return document


def check_keys(document: Mapping[str, object], known: Collection[str]) -> tuple[str, ...]:
    """Return the keys that are not `known`; raise `Uncountable` for one that differs from a known one in case only."""
    others = [key for key in document if key not in known]
    if any(key.lower() in known for key in others):
        raise Uncountable("a key of its JSON is not in lower case")
    return tuple(shortened(key) for key in others)


def model_of(document: Mapping[str, object]) -> str:
    """Return the name of the model; raises `Uncountable`."""
    model = document.get("model")
    if not isinstance(model, str) or not model or len(model) > _LONGEST_SHOWN or not model.isprintable():
        raise Uncountable("it names no model")
    return model


def count_of(document: Mapping[str, object], key: str) -> int | None:
    """Return the number of tokens or the like at `key`, None without one; raises `Uncountable` for anything else."""
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise Uncountable(f"its {key} is not a whole number")
    return value


def objects_of(document: Mapping[str, object], key: str) -> list[Json]:
    """Return the list of objects at `key`, empty without one; raises `Uncountable` for anything else."""
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Uncountable(f"its {key} is not a list of objects")
    return value


def shortened(text: object) -> str:
    """Return untrusted text in a form fit for a message: printable ASCII, of limited length."""
    return ascii(str(text)[:_LONGEST_SHOWN])[1:-1][:_LONGEST_SHOWN]


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a value of JSON")
