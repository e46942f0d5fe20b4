"""What the benchmarks' commands share: their arguments, the absence of spare machines, and the file of the report."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pyro_mcp.errors import PyroError


def arguments_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few runs: to see that it works")
    parser.add_argument("--environment", default="debian:12", help="default: debian:12")
    return parser


def write_report(name: str, target: Path, measure: Callable[[], object]) -> int:
    """Write what `measure` returns to `target`, as JSON; return the exit code, not 0 when it could not measure.

    No spare machine is made meanwhile, except where a benchmark turns them on.
    """
    os.environ["PYRO_SPARES"] = "0"
    try:
        report = measure()
    except PyroError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten to {target}")
    return 0
