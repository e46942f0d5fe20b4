"""The command line: parse, one call on `Pyro`, render. One file per group of verbs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return its exit code."""
    try:
        # Imported here so that Ctrl-C ends an import without a traceback too.
        from pyro_mcp.cli.program import run_command_line  # noqa: PLC0415

        return run_command_line(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        os.write(2, b"pyro: interrupted\n")
        return 130
