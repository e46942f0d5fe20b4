"""The state that a harness reports in a file in the home of the agent's user: one word, written by its hooks."""

from __future__ import annotations

from claude_bottle.backend.interface import Inside
from pyro_mcp.errors import PyroError

STATE_NAME = ".claude-bottle-state"
RUNNING, IDLE, WAITING = "running", "idle", "waiting for permission"
_WORDS = {b"running": RUNNING, b"idle": IDLE, b"waiting_for_permission": WAITING}
HOOKS = {
    "SessionStart": "idle",
    "UserPromptSubmit": "running",
    "PreToolUse": "running",
    "PostToolUse": "running",
    "PermissionRequest": "waiting_for_permission",
    "Stop": "idle",
}
"""The events of Claude Code and Codex that have a hook, each with the word that it reports."""
_LONGEST = 64
_DEADLINE = 10.0


def report(word: str) -> str:
    """Return the shell command with which a hook reports `word`; a reader never sees half a word."""
    return f'printf %s {word} > "$HOME/{STATE_NAME}.$$" && mv "$HOME/{STATE_NAME}.$$" "$HOME/{STATE_NAME}"'


def read_state(bottle: Inside) -> str:
    """Return the state that the agent reported last; "running" when it reported none that is known.

    The agent can write the file itself, so the state is only shown, and nothing depends on it.
    """
    command = ["sh", "-c", f'head -c {_LONGEST} "$HOME/{STATE_NAME}"']
    try:
        said = bottle.execute(command, deadline_seconds=_DEADLINE)
    except PyroError:
        return RUNNING
    return _WORDS.get(said.stdout.strip(), RUNNING)
