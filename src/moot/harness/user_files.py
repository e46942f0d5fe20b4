"""Edits of settings files of the user, which keep everything else in them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from moot.agents.place import PlaceFiles
from pyro_mcp.errors import Busy, InvalidRequest

_LOCK_SECONDS, _LOOK_AGAIN = 10.0, 0.05
Json = dict[str, Any]


def edit_json(files: PlaceFiles, path: str, change: Callable[[Json], None]) -> None:
    """Change a JSON object; a missing or empty file is {}. Raises `InvalidRequest` when the file is something else."""
    text = files.read(path)
    try:
        document = json.loads(text or "{}")
    except ValueError as error:
        raise _unreadable(path, "JSON", error) from error
    if not isinstance(document, dict):
        raise _unreadable(path, "a JSON object", None)
    change(document)
    changed = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if text is None or json.loads(text or "{}") != document:
        files.write(path, changed)


@contextmanager
def locked_as_by_the_program(files: PlaceFiles, path: str, *, stale_seconds: int) -> Iterator[None]:
    """Hold the lock folder with which a program guards its own file. Raises `Busy` when it does not become free."""
    end = time.monotonic() + stale_seconds + _LOCK_SECONDS
    while not files.make_lock(path, stale_seconds):
        if time.monotonic() >= end:
            raise Busy(f"another program holds {path}", hint="end it, or remove that folder")
        time.sleep(_LOOK_AGAIN)  # nothing announces the end of such a lock
    try:
        yield
    finally:
        files.remove_lock(path)


def edit_toml(files: PlaceFiles, path: str, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    """Change a TOML document; comments and order stay. Raises `InvalidRequest` when it is not valid TOML."""
    text = files.read(path)
    try:
        document = tomlkit.parse(text or "")
        change(document)
    except TOMLKitError as error:
        raise _unreadable(path, "TOML", error) from error
    changed = tomlkit.dumps(document)
    if changed != text:
        files.write(path, changed)


def table_of(document: Json, *names: str) -> Json:
    """Return the object at `names` in a JSON document, made where it is missing or is no object."""
    for name in names:
        if not isinstance(document.get(name), dict):
            document[name] = {}
        document = document[name]
    return document


def _unreadable(path: str, kind: str, error: Exception | None) -> InvalidRequest:
    why = "" if error is None else f": {error}"
    return InvalidRequest(f"{path} is not valid {kind}{why}", hint="correct or remove the file first")


def json_object(files: PlaceFiles, path: str) -> Json:
    """Return the JSON object in a file; {} when there is no such file, or something else in it."""
    try:
        found = json.loads(files.read(path) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
