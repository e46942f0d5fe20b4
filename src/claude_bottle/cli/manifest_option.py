"""The option `--manifest`, and the table of the keys that a manifest sets."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_mcp.command_line import table

if TYPE_CHECKING:
    from claude_bottle.manifest import LoadedManifest

_LONGEST_VALUE = 200


def manifest_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a manifest file."""
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="read this manifest alone (default: your own and the project's, merged)",
    )


def loaded(arguments: argparse.Namespace) -> LoadedManifest:
    """Return the manifest for a command line with `manifest_option`."""
    from claude_bottle.manifest import load  # noqa: PLC0415 - pydantic is slow to import

    return load(file=None if arguments.manifest is None else Path(arguments.manifest))


def settings_table(found: LoadedManifest) -> str:
    """Return a table of the keys that are no defaults, each with its level and the beginning of its value."""
    levels = {str(path): name for name, path in found.levels.items()}
    rows = [("KEY", "FROM", "VALUE")]
    for one in found.settings:
        text = _on_one_line(one.value)
        rows.append((one.path, levels[one.file], f"{text[:_LONGEST_VALUE]}…" if len(text) > _LONGEST_VALUE else text))
    return table(rows)


def settings_of(found: LoadedManifest, level: str) -> Iterator[str]:
    """Yield each key that the file of a level gives, with its whole value: a person approves them."""
    file = str(found.levels[level])
    return (f"{one.path} = {_on_one_line(one.value)}" for one in found.settings if one.file == file)


def _on_one_line(value: object) -> str:
    """Return a value as JSON on one line; a prompt may have any character."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
