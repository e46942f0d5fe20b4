"""Match paths of a build context against the rules of its .dockerignore."""

from __future__ import annotations

import re
from collections.abc import Callable

_SPECIAL = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}


def ignored_by(text: str) -> Callable[[str], bool]:
    """Return a function that says whether the rules exclude a path, which is relative to the build context.

    The last pattern that matches decides; a pattern after `!` includes paths again.
    """
    rules = []
    for line in text.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        includes = pattern.startswith("!")
        parts = [part for part in pattern.removeprefix("!").strip().split("/") if part not in ("", ".")]
        if parts:
            rules.append((includes, re.compile(_expression("/".join(parts)) + r"(?:/.*)?", re.DOTALL)))

    def ignored(path: str) -> bool:
        matches = [includes for includes, expression in rules if expression.fullmatch(path)]
        return bool(matches) and not matches[-1]

    return ignored


def _expression(pattern: str) -> str:
    """Return the regular expression for a pattern."""
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
