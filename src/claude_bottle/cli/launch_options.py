"""The options and arguments that several verbs share."""

from __future__ import annotations

import argparse

from claude_bottle.backend.table import BACKENDS, DEFAULT_BACKEND


def launch_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a launch: the agent, the backend, and whether the working folder is copied in."""
    parser.add_argument("agent", metavar="AGENT", help="an agent of the manifest")
    known = ", ".join(BACKENDS)
    parser.add_argument(
        "--backend",
        default=DEFAULT_BACKEND,
        metavar="NAME",
        help=f"where the bottle runs: {known} (default {DEFAULT_BACKEND})",
    )
    parser.add_argument(
        "--copy-cwd", action="store_true", help="copy the working folder in as the agent's tree (default: empty)"
    )


def bottle_argument(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the argument that names a bottle, or with `nargs` several bottles."""
    text = "the bottle's name, or its agent's name if the agent has only one bottle"
    parser.add_argument("bottle", metavar="BOTTLE", nargs=nargs, help=text)
