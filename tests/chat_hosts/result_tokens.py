"""The table of docs/result-tokens.md: what a result costs the model of each host.

With `PYRO_WRITE_TOKENS=1` a run of tests/chat_hosts/test_agent_turns.py writes what it measures into the table.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

from tests.style.project import ROOT

DOCUMENT = ROOT / "docs/result-tokens.md"
HOSTS = ("Claude Code", "Codex", "OpenCode")
STEPS = (
    "create a workspace",
    "a command that fails",
    "an unknown workspace",
    "apply a patch",
    "an install without network",
    "a command with 100,000 lines of output",
    "a command that passes",
    "the diff",
    "reset",
    "delete",
)
_OPENING = """\
# What a result costs a model

Tokens of our tools' results in the requests that the real hosts send, one for 3.5 bytes, in the order of a repair.
`tests/chat_hosts/test_agent_turns.py` measures them and compares; with `PYRO_WRITE_TOKENS=1` it writes this table.

"""


def measured(answers: Sequence[str]) -> dict[str, int]:
    """The tokens of each step's answer."""
    return {step: math.ceil(len(one.encode()) / 3.5) for step, one in zip(STEPS, answers, strict=True)}


def documented() -> dict[str, dict[str, int]]:
    """The figures of the table by host, then by step."""
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    return {host: {row[0]: int(row[column]) for row in rows[1:]} for column, host in enumerate(HOSTS, 1)}


def check(host: str, figures: Mapping[str, int]) -> list[str]:
    """What differs from the table; ids and times are of different lengths, so a little may."""
    if os.environ.get("PYRO_WRITE_TOKENS"):
        _write(host, figures)
    told = documented()[host]
    far = [step for step in STEPS if abs(figures[step] - told[step]) > 10 + told[step] // 10]
    return [f"{host}, {step}: {figures[step]} tokens, {told[step]} in {DOCUMENT.name}" for step in far]


def _write(host: str, figures: Mapping[str, int]) -> None:
    known = documented() if DOCUMENT.exists() else {one: dict.fromkeys(STEPS, 0) for one in HOSTS}
    known[host] = dict(figures)
    rows = [["Result", *HOSTS], ["---", *["---:"] * len(HOSTS)]]
    rows += [[step, *(str(known[one][step]) for one in HOSTS)] for step in STEPS]
    lines = [f"| {' | '.join(row)} |" if row[0] != "---" else f"|{'|'.join(row)}|" for row in rows]
    DOCUMENT.write_text(_OPENING + "\n".join(lines) + "\n")
