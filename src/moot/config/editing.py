"""Changes to `moot.toml` that keep its comments and order. A change that the reader would refuse is not written."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError

from moot.config.actors import load_actors, save_actors
from moot.config.reading import config_of, read_config
from moot.toml_tables import parse_toml
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match
from pyro_mcp.host.files import locked, write_durable

SETTABLE = ("api_url", "space_id", "template")
_LOCK_SECONDS = 10.0


def set_value(path: Path, key: str, value: str) -> None:
    """Set a key of `[convo]` in the file `path`. Raises `InvalidRequest`; the file is then as it was.

    A placeholder in a comment (`# key = …`) becomes the key.
    """
    if key not in SETTABLE:
        hint = near_match(key, SETTABLE) or f"write the rest of {path.name} with an editor; 'moot config' checks it"
        raise InvalidRequest(f"cannot set {key!r}. Settable keys: {', '.join(SETTABLE)}", hint=hint)
    with locked(path.with_name(f".{path.name}.lock"), deadline_seconds=_LOCK_SECONDS, what=path.name):
        try:
            _write(path, key, value)
        finally:
            path.with_name(f".{path.name}.lock").unlink(missing_ok=True)


def set_in_project(path: Path, key: str, value: str) -> None:
    """Set a key as `set_value` does, for a person: with `api_url`, the agents' keys are for that server from now on."""
    set_value(path, key, value)
    actors = load_actors(path.parent) if key == "api_url" else None
    if actors is not None:
        save_actors(replace(actors, api_url=read_config(path).api_url), path.parent)


def _write(path: Path, key: str, value: str) -> None:
    old = path.read_text(encoding="utf-8-sig")
    config_of(parse_toml_of(old, path), path)
    new = changed(old, key, value, path)
    config_of(parse_toml_of(new, path), path)
    write_durable(path, new, mode=path.stat().st_mode & 0o777)


def parse_toml_of(text: str, path: Path) -> dict[str, object]:
    """Return the document in the text of the file `path`. Raises `InvalidRequest`."""
    try:
        return parse_toml(text)
    except ValueError as error:
        raise InvalidRequest(f"{path}: {error}") from None


def changed(text: str, key: str, value: str, path: Path) -> str:
    """Return the text of a file with a key of `[convo]` set."""
    convo = parse_toml_of(text, path).get("convo")
    if not isinstance(convo, dict):
        raise InvalidRequest(
            f"{path.name} has no [convo] section to update", hint="add a line [convo] at the top of the file"
        )
    if key not in convo:
        text = _with_placeholder_as_key(text, key)
    try:
        document = tomlkit.parse(text)
        document["convo"][key] = value
    except (TOMLKitError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path}: {error}") from None
    return document.as_string()


def _with_placeholder_as_key(text: str, key: str) -> str:
    """Return the text with the first comment `# key = …` of `[convo]` as a key, if that is still the same document."""
    pattern = re.compile(rf"^[ \t]*#[ \t]*{re.escape(key)}[ \t]*=.*$", re.MULTILINE)
    header = re.search(r"^[ \t]*\[[ \t]*convo[ \t]*\][ \t]*(#.*)?$", text, re.MULTILINE)
    if header is None:
        return text
    end = re.compile(r"^[ \t]*\[", re.MULTILINE).search(text, header.end())
    found = pattern.search(text, header.end(), end.start() if end else len(text))
    if found is None:
        return text
    comment = re.search(r"#[^\"']*$", found[0].split("=", 1)[1])
    line = f'{key} = ""' + (f"  {comment[0]}" if comment else "")
    new = text[: found.start()] + line + text[found.end() :]
    try:
        convo = parse_toml(new).get("convo", {})
    except ValueError:
        return text
    return new if isinstance(convo, dict) and convo.get(key) == "" else text
