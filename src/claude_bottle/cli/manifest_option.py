"""The option `--manifest`, and the table of the keys that a manifest sets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pyro_mcp.command_line import table

if TYPE_CHECKING:
    from claude_bottle.manifest import Loaded

_LONGEST_VALUE = 200


def manifest_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a manifest file."""
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="read this manifest alone (default: your own and the project's, merged)",
    )


def loaded(arguments: argparse.Namespace) -> Loaded:
    """Return the manifest for a command line with `manifest_option`."""
    from claude_bottle.manifest import load  # noqa: PLC0415 - pydantic is slow to import

    return load(file=None if arguments.manifest is None else Path(arguments.manifest))


def settings_table(found: Loaded, *, level: str = "") -> str:
    """Return a table of the keys that a manifest sets, each with its level and value; `level` selects one level."""
    levels = {str(path): name for name, path in found.levels.items()}
    rows = [("KEY", "FROM", "VALUE")]
    rows += [(one.path, levels[one.file], _shown_value(one.value)) for one in found.settings]
    return table([row for row in rows if level in ("", row[1]) or row is rows[0]])


def _shown_value(value: object) -> str:
    """Return a value as printable JSON on one line, shortened if it is long, as a prompt may be."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
