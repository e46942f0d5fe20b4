"""claude-bottle schema"""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files

from pyro_mcp.command_line import Verbs, verb


def add(verbs: Verbs) -> None:
    verb(
        verbs,
        "schema",
        "print the JSON schema with which an editor completes and checks a manifest",
        _schema,
        example="claude-bottle schema >bottles.schema.json",
    )


def _schema(_arguments: argparse.Namespace) -> int:
    sys.stdout.write(files("claude_bottle").joinpath("bottles.schema.json").read_text())
    return 0
