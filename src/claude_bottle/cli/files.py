"""claude-bottle diff BOTTLE, export BOTTLE [PATH]"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from claude_bottle.bottles import Bottles
from claude_bottle.cli.launch_options import bottle_argument
from claude_bottle.results import DiffReport
from pyro_mcp.command_line import Verbs, print_json, progress_line, shown, verb
from pyro_mcp.visible import visible, visible_line

_MOST_NAMED = 20


def add(verbs: Verbs) -> None:
    diff = verb(
        verbs, "diff", "show what changed since the launch", _diff, example="claude-bottle diff reviewer-3f9a1c"
    )
    bottle_argument(diff)
    export = verb(
        verbs,
        "export",
        "copy a file or folder of the agent's tree to this host",
        _export,
        example="claude-bottle export reviewer-3f9a1c src --output ./result",
    )
    bottle_argument(export)
    export.add_argument("path", metavar="PATH", nargs="?", default=".", help="path in the tree (default: all of it)")
    export.add_argument("--output", required=True, metavar="HOST_PATH", help="destination; must not exist")
    export.add_argument("--overwrite", action="store_true", help="replace an existing destination")


def _diff(arguments: argparse.Namespace) -> int:
    found = Bottles().diff(arguments.bottle)
    if arguments.json:
        print_json(found)
    elif not found["changed"]:
        print("no changes", file=sys.stderr)
    elif sys.stdout.isatty():
        print(visible(found["diff"], keep="\n\t"), end="")
    else:  # byte for byte: 'git apply' reads it
        sys.stdout.flush()
        sys.stdout.buffer.write(found["diff"].encode(errors="surrogateescape"))
        sys.stdout.flush()
    if not arguments.json:
        for remark in _not_in_patch(found):
            print(f"claude-bottle: {remark}", file=sys.stderr)
    return 0


def _not_in_patch(found: DiffReport) -> Iterator[str]:
    """Yield a line about each kind of change that the patch leaves out."""
    if paths := found["not_in_patch"]:
        more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
        names = ", ".join(map(visible_line, paths[:_MOST_NAMED]))
        yield f"not in the patch (binary, too large or special): {names}{more}; 'claude-bottle export' copies them"
    if found["git_changes"]:
        yield f"not in the patch: {found['git_changes']} changed in .git, where hooks and settings run programs"
    if found["ignored_changes"]:
        yield f"not in the patch: {found['ignored_changes']} changed that .gitignore names"


def _export(arguments: argparse.Namespace) -> int:
    with progress_line() as line:
        line(f"copying {arguments.path}", None)
        done = Bottles().export(
            arguments.bottle, arguments.path, output=Path(arguments.output), overwrite=arguments.overwrite
        )
    if arguments.json:
        print_json(done)
        return 0
    print(done["output"])
    for remark in done["remarks"]:
        print(f"claude-bottle: {shown(remark)}", file=sys.stderr)
    return 0
