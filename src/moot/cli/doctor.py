"""moot doctor"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from pyro_mcp.command_line import Verbs, paragraph, print_json, verb
from pyro_mcp.errors import HostNotReady


def add(verbs: Verbs) -> None:
    verb(
        verbs,
        "doctor",
        "check what the team needs, and say how to get what is missing",
        _doctor,
        example="moot doctor",
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from moot.team import Doctor  # noqa: PLC0415 - what a verb needs is imported when it runs

    found = []
    for one in Doctor().checks():
        found.append(one)
        if not arguments.json:
            print(paragraph(f"{'ok' if one.ok else 'MISS':4}  {one.name}: {one.found}", 8), flush=True)
            if one.advice and not one.ok:
                print("\n".join(paragraph(f"        {line}", 10) for line in one.advice.splitlines()), flush=True)
    ready = all(one.ok for one in found)
    if arguments.json:
        print_json({"ready": ready, "checks": [asdict(one) for one in found]})
    else:
        print("\nready: 'moot up' starts the team" if ready else "\nnot ready: see MISS above")
    return 0 if ready else HostNotReady.exit_code
