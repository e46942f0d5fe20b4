"""Tell the agent at the start of a session to look at its space first."""

from __future__ import annotations

import json
import sys

_TEXT = """\
This session began by {source}. Before any other work, unless you have already done so in this turn:
1. Call mcp__convo__orientation() to learn who you are, which space you work in and what is unread.
2. Call mcp__convo__list_participants(detail='full') to learn the participant ids of the others.
3. Call mcp__convo__update_status(...) to say what you do now, or that you are ready."""


def main() -> None:
    """Print the text as context of the session."""
    given = json.load(sys.stdin)
    source = given.get("source") or "startup"
    context = {"hookEventName": "SessionStart", "additionalContext": _TEXT.format(source=source)}
    print(json.dumps({"hookSpecificOutput": context}))


if __name__ == "__main__":
    main()
