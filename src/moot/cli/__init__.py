"""The command `moot`: parse, one call on the server, render. One file for each group of verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code."""
    try:
        # Imported here so that Ctrl-C ends an import without a traceback too.
        from moot.cli.program import command_parser, complete  # noqa: PLC0415
        from pyro_mcp.command_line import run_command_line  # noqa: PLC0415

        return run_command_line(sys.argv[1:] if argv is None else argv, command_parser, complete)
    except KeyboardInterrupt:
        os.write(2, b"moot: interrupted\n")
        return 130
