"""Strict reading of TOML files: each key has a check, and each problem names its field.

    reader = TableReader("moot.toml")
    values = reader.read(document.get("convo", {}), "convo", {"api_url": http_url, "space_id": word})
    reader.finish()  # raises `InvalidRequest` with all problems

A file may be hostile: it is small, regular, in UTF-8, and the messages about it are bounded.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

Check: TypeAlias = Callable[[object], Any]
"""Returns the value of a field; raises `ValueError` that says what is wrong."""

LARGEST = 1024 * 1024
_MOST_PARTS = 100
"""The most parts of a dotted key: tomllib takes quadratic time for such a key."""
_MOST_PROBLEMS = 20
_LONGEST_SHOWN = 80
_LONGEST_LINE = 500
_LONGEST_TEXT = 16 * 1024
_PLAIN = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the document in the file `path`. Raises `InvalidRequest`, and `OSError` when it cannot be opened."""
    try:
        content, _ = read_regular(path, most=LARGEST)
    except NotSmallAndRegular as error:
        raise InvalidRequest(f"{path}: {error}") from None
    try:
        return parse_toml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidRequest(f"{path}: line {line} is not text in UTF-8") from None
    except ValueError as error:
        hint = "correct that line, then try again"
        raise InvalidRequest(f"{path}: {_printable(str(error))}", hint=hint) from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the document in a text. Raises `ValueError`."""
    for number, line in enumerate(text.splitlines(), start=1):
        before = line.split("=")[: -1 if "=" in line else 1]
        if any(part.count(".") > _MOST_PARTS and re.search(r"[\w\"'-]\s*\.\s*[\w\"'-]", part) for part in before):
            raise ValueError(f"line {number} has a key of more than {_MOST_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


class TableReader:
    """A reader of tables that collects the problems of one file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._problems: list[str] = []

    def read(self, table: object, where: str, checks: Mapping[str, Check]) -> dict[str, Any]:
        """Return the checked values of the keys that a table has."""
        if not isinstance(table, dict):
            self.report(where, f"must be a table, not {kind_of(table)}")
            return {}
        found = {}
        for key, value in table.items():
            place = dotted(where, key)
            if key not in checks:
                self.report(place, f"there is no such key; {_near_or_all(key, list(checks))}")
                continue
            try:
                found[key] = checks[key](value)
            except ValueError as error:
                self.report(place, str(error))
        return found

    def report(self, where: str, message: str) -> None:
        """Record a problem of the field at `where`."""
        self._problems.append(f"{where}: {message}" if where else message)

    def finish(self) -> None:
        """Raise `InvalidRequest` when there were problems."""
        if self._problems:
            shown = self._problems[:_MOST_PROBLEMS]
            if (more := len(self._problems) - len(shown)) > 0:
                shown.append(f"and {more} more problems")
            raise InvalidRequest("\n".join(f"{self._source}: {_printable(one)}" for one in shown))


def quoted(text: str) -> str:
    """Return a text as a string of TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dotted(where: str, key: str) -> str:
    """Return the path of a key, as TOML writes it."""
    shown = key if _PLAIN.fullmatch(key) and len(key) <= _LONGEST_SHOWN else quoted(shortened(key))
    return f"{where}.{shown}" if where else shown


def shortened(text: str) -> str:
    """Return a text that fits a message."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def kind_of(value: object) -> str:
    """Return the type of a value, in the words of TOML."""
    kinds = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (list, "a list"), (dict, "a table"))
    return next((kind for type_, kind in kinds if isinstance(value, type_)), "a date or time")


def a_text(value: object) -> str:
    """Return a text of any length up to 16 KiB, of several lines too."""
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {kind_of(value)}")
    if "\0" in value or any(not (one.isprintable() or one in "\n\t") for one in value):
        raise ValueError("must not hold control characters")
    if len(value.encode()) > _LONGEST_TEXT:
        raise ValueError(f"is larger than {_LONGEST_TEXT // 1024} KiB")
    return value


def a_line(value: object) -> str:
    """Return one line of printable characters that is not empty."""
    text = a_text(value)
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_LINE:
        raise ValueError(f"must be one line of 1 to {_LONGEST_LINE} characters, without control characters")
    return text


def a_number(least: float, most: float) -> Check:
    """Return the check of a number between two."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"must be a number, not {kind_of(value)}")
        if not math.isfinite(value) or not least <= value <= most:
            raise ValueError(f"must be between {least:g} and {most:g}")
        return float(value)

    return check


def one_of(known: Sequence[str]) -> Check:
    """Return the check of a text that is one of these."""

    def check(value: object) -> str:
        text = a_text(value)
        if text not in known:
            raise ValueError(f"{shortened(text)!r} is not known; {_near_or_all(text, known)}")
        return text

    return check


def matching(pattern: re.Pattern[str], what: str) -> Check:
    """Return the check of a text that a pattern matches as a whole; `what` ends the sentence `'x' …`."""

    def check(value: object) -> str:
        text = a_text(value)
        if not pattern.fullmatch(text):
            raise ValueError(f"{shortened(text)!r} {what}")
        return text

    return check


def list_of(inner: Check, most: int = 100) -> Check:
    """Return the check of a list."""

    def check(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"must be a list, not {kind_of(value)}")
        if len(value) > most:
            raise ValueError(f"has more than {most} entries")
        return [inner(one) for one in value]

    return check


def table_of(key: Check, inner: Check, most: int = 100) -> Check:
    """Return the check of a table whose keys are free."""

    def check(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table, not {kind_of(value)}")
        if len(value) > most:
            raise ValueError(f"has more than {most} keys")
        found = {}
        for name, one in value.items():
            try:
                found[key(name)] = inner(one)
            except ValueError as error:
                raise ValueError(f"{shortened(name)!r}: {error}") from None
        return found

    return check


def http_url(value: object) -> str:
    """Return the base URL of a server, without a slash at its end."""
    text = a_line(value).strip().rstrip("/")
    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong or " " in text:
        raise ValueError(f"{shortened(text)!r} is not the URL of a server, such as http://127.0.0.1:8000")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a URL without a user, a query or a fragment")
    return text


def _near_or_all(word: str, known: Sequence[str]) -> str:
    return near_match(word, known) or f"choose from {', '.join(known) or 'none'}"


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
