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
import subprocess
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
    tool_input = given.get("tool_input") if isinstance(given, dict) else None
    command = tool_input.get("command") if isinstance(tool_input, dict) else None
    own = os.environ.get("CONVO_WORKTREE", "")
    if not own or not isinstance(command, str):
        return
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(_SECONDS)
    reason = _refusal(command, str(given.get("cwd") or os.getcwd()), top_level(own) or os.path.realpath(own))
    if reason:
        answer = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": reason}
        print(json.dumps({"hookSpecificOutput": answer}))


def _refusal(command: str, cwd: str, own: str) -> str:
    """Return why a command is refused; "" when it is not."""
    begins = None
    try:
        begins = top_level(cwd)
        Shell(GitCheck(own), frozenset({cwd}), dict(os.environ)).run(command)
    except Refused as error:
        return str(error)
    except (NotUnderstood, RecursionError, ValueError, OSError, subprocess.SubprocessError) as error:
        # A path with a character that no path has is a ValueError.
        stays = not re.search(r"\bcd\b|-C|GIT_|--git-dir|--work-tree|pushd|worktree|-ref|stash", command)
        if "git" in command and not (stays and begins == own):
            return f"this command could not be read ({error}), and it names git. Write it more simply."
    return ""


if __name__ == "__main__":
    main()
