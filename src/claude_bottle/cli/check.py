"""claude-bottle check"""

from __future__ import annotations

import argparse

from claude_bottle.cli.manifest_option import loaded, manifest_option, settings_table
from pyro_mcp.command_line import Verbs, print_json, shown, verb


def add(verbs: Verbs) -> None:
    parser = verb(
        verbs,
        "check",
        "check the manifest, and show each key with its value and the file that it comes from",
        _check,
        example="claude-bottle check",
    )
    manifest_option(parser)


def _check(arguments: argparse.Namespace) -> int:
    from claude_bottle.manifest import is_trusted  # noqa: PLC0415 - pydantic is slow to import

    found = loaded(arguments)
    if arguments.json:
        manifest: dict[str, object] = found.manifest.model_dump(mode="json", exclude_none=True)
        files = {level: str(path) for level, path in found.levels.items()}
        print_json(
            {"files": files, "manifest": manifest, "origins": dict(found.origins), "approved": is_trusted(found)}
        )
        return 0
    print(settings_table(found))
    print()
    for level, path in found.levels.items():
        approval = "" if level != "project" or is_trusted(found) else " (not approved yet: 'claude-bottle trust')"
        print(f"{level}: {shown(str(path))}{approval}")
    counts = [_count(len(found.manifest.bottles), "bottle"), _count(len(found.manifest.agents), "agent")]
    print(f"correct: {' and '.join(counts)}")
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
