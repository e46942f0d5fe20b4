"""Refuse git commands that would change another worktree than that of the agent.

Agents of a team share one repository and have a worktree each. The hook follows what bash would do with the command
(`cd`, `git -C`, variables, subshells, aliases, `bash -c`) and refuses it when a git command that changes something
could run outside the agent's worktree, or at a place that it cannot know. It prevents accidents and is no boundary: a
program that runs git itself is not seen.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys

from git_check import GitCheck, Refused
from git_facts import top_level
from shell_commands import Shell
from shell_words import NotUnderstood

# Claude Code lets the command run when the hook has not answered within 10 s (see settings.json).
_SECONDS = 6


def _too_late(*_: object) -> None:
    raise NotUnderstood("it takes too long to follow")


def main() -> None:
    """Read the hook's input; print a refusal, or nothing."""
    given = json.load(sys.stdin)
    command = given.get("tool_input", {}).get("command") or ""
    own = os.environ.get("CONVO_WORKTREE", "")
    if not own or not isinstance(command, str):
        return
    cwd = str(given.get("cwd") or os.getcwd())
    check = GitCheck(top_level(own) or os.path.realpath(own))
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(_SECONDS)
    try:
        Shell(check, frozenset({cwd}), dict(os.environ)).run(command)
    except (Refused, NotUnderstood, RecursionError) as error:
        reason = str(error)
        if not isinstance(error, Refused):
            reason = f"this command could not be read ({error}), and it names git. Write it more simply."
            stays = not re.search(r"\bcd\b|-C|GIT_|--git-dir|--work-tree|pushd|worktree|-ref|stash", command)
            if "git" not in command or (stays and top_level(cwd) == check.own):
                return
        answer = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
        print(json.dumps({"hookSpecificOutput": answer}))


if __name__ == "__main__":
    main()
