"""The option for the manifest, which every verb that reads one has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.manifest import Loaded


def manifest_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for a manifest in another place."""
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="read this manifest alone (default: your own and the project's, merged)",
    )


def loaded(arguments: argparse.Namespace) -> Loaded:
    """Return the manifest that `manifest_option` names."""
    from claude_bottle.manifest import load  # noqa: PLC0415 - pydantic is slow to import

    return load(file=None if arguments.manifest is None else Path(arguments.manifest))
