"""claude-bottle check"""

from __future__ import annotations

import argparse
import json

from claude_bottle.cli.manifest_option import loaded, manifest_option
from pyro_mcp.command_line import Verbs, print_json, shown, table, verb

_LONGEST_VALUE = 200


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "check",
        "check the manifest, and show what it says and which file says it",
        _check,
        example="claude-bottle check",
    )
    manifest_option(parser)


def _check(arguments: argparse.Namespace) -> int:
    found = loaded(arguments)
    if arguments.json:
        manifest: dict[str, object] = found.manifest.model_dump(mode="json", exclude_none=True)
        files = {level: str(path) for level, path in found.levels.items()}
        print_json({"files": files, "manifest": manifest, "origins": dict(found.origins)})
        return 0
    levels = {str(path): level for level, path in found.levels.items()}
    rows = [("KEY", "FROM", "VALUE")]
    rows += [(one.path, levels[one.file], _shown_value(one.value)) for one in found.settings]
    print(table(rows))
    print()
    for file, level in levels.items():
        print(f"{level}: {shown(file)}")
    counts = [_count(len(found.manifest.bottles), "bottle"), _count(len(found.manifest.agents), "agent")]
    print(f"correct: {' and '.join(counts)}")
    return 0


def _shown_value(value: object) -> str:
    """Return a value as JSON on one line; a prompt may have any character, and may be long."""
    text = json.dumps(value, ensure_ascii=False)
    text = text if text.isprintable() else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
