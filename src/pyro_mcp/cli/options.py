"""The options that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # argparse has no public name for it


def verb(
    verbs: Verbs, name: str, purpose: str, act: Callable[[argparse.Namespace], int], *, example: str
) -> argparse.ArgumentParser:
    """A verb with its help, its example, `--json`, and the function that does it."""
    parser = verbs.add_parser(
        name,
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}.",
        epilog=f"example: {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(act=act)
    return parser
