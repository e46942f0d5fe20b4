"""Read one manifest file, JSON or TOML, as an object. The file and its content may be hostile."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from claude_bottle.errors import ManifestError, Problem
from claude_bottle.manifest.problems import shown_path
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

LARGEST = 1024 * 1024
_MOST_PARTS = 32
"""The most parts of a dotted key in TOML: tomllib takes quadratic time for such a key."""


def read_manifest(path: Path, *, within: Path | None = None) -> tuple[dict[str, Any], str]:
    """Return the object that the file `path` holds, and the SHA-256 digest of the file.

    With `within`, a symbolic link must not lead out of that folder. Raises `ManifestError`, and `OSError` when the file
    cannot be opened.
    """
    content = _content(path, within)
    parse = _parse_toml if path.suffix == ".toml" else _parse_json
    try:
        value = parse(_text(content))
    except RecursionError:
        raise _refused(path, "is nested too deeply") from None
    except ValueError as error:
        raise _refused(path, _cause(error)) from None
    if not isinstance(value, dict):
        raise _refused(path, "must hold an object")
    if twice := [Problem(shown_path(where), "is there twice", str(path)) for where in _repeated(value)]:
        raise ManifestError(tuple(twice))
    return value, hashlib.sha256(content).hexdigest()


def _content(path: Path, within: Path | None) -> bytes:
    try:
        content, target = read_regular(path, most=LARGEST)
    except NotSmallAndRegular as error:
        raise _refused(path, str(error)) from None
    if within is not None and not target.is_relative_to(within.resolve()):
        raise _refused(path, f"is a link out of {within}; replace it by a file of the project")
    return content


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not text in UTF-8") from None


class _Object(dict[str, Any]):
    """An object of JSON that knows which of its keys were there twice."""

    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        found.repeated = tuple(dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _parse_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a value of JSON")


def _parse_toml(text: str) -> object:
    for number, line in enumerate(text.splitlines(), start=1):
        if any(part.count(".") > _MOST_PARTS and _is_key(part) for part in line.split("=")[: -1 if "=" in line else 1]):
            raise ValueError(f"line {number} has a key of more than {_MOST_PARTS} parts")
    return tomllib.loads(text)


def _is_key(part: str) -> bool:
    """Return whether this part of a line may end with a dotted key, or be the header of a table."""
    return re.search(r"[\w\"'-]\s*\.\s*[\w\"'-]", part) is not None


def _cause(error: ValueError) -> str:
    """Return what is wrong with a text, as the parser says it, with the line."""
    if isinstance(error, json.JSONDecodeError):
        comment = error.doc[error.pos :].startswith(("//", "/*", "#"))
        advice = "; JSON has no comments; use bottles.toml to write some" if comment else ""
        return f"line {error.lineno}, column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}{advice}"
    if "int_max_str_digits" in str(error):
        return "has a number of more than 4300 digits"
    return str(error)


def _repeated(value: object) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of each key that is twice in its object."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while waiting:
        where, one = waiting.pop()
        if isinstance(one, _Object):
            yield from ((*where, key) for key in one.repeated)
        items = one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
        waiting += [((*where, key), inner) for key, inner in items if isinstance(inner, dict | list)]


def _refused(path: Path, message: str) -> ManifestError:
    return ManifestError((Problem("", message, str(path)),))
