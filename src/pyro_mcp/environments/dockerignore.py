"""Which files of a build context its .dockerignore leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable

_SPECIAL = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


def ignored_by(text: str) -> Callable[[str], bool]:
    """A test for paths relative to the context. The last pattern that fits decides; `!` takes a path in again."""
    rules = []
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keeps = pattern.startswith("!")
        parts = [part for part in pattern.removeprefix("!").strip().split("/") if part not in ("", ".")]
        if parts:
            rules.append((keeps, re.compile(_expression("/".join(parts)) + r"(?:/.*)?", re.DOTALL)))

    def ignored(path: str) -> bool:
        fits = [keeps for keeps, expression in rules if expression.fullmatch(path)]
        return bool(fits) and not fits[-1]

    return ignored


def _expression(pattern: str) -> str:
    found = ""
    at = 0
    while at < len(pattern):
        special = next((one for one in _SPECIAL if pattern.startswith(one, at)), None)
        bracket = re.compile(r"\[\^?[^]/]+\]").match(pattern, at)
        if special is not None:
            found, at = found + _SPECIAL[special], at + len(special)
        elif bracket is not None:
            found, at = found + bracket[0], bracket.end()
        else:
            at += pattern[at] == "\\" and at + 1 < len(pattern)
            found, at = found + re.escape(pattern[at]), at + 1
    return found
