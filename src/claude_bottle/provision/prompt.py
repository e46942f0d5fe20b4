"""The agent's prompt: a file in the home of its user, which the harness reads when it starts."""

from __future__ import annotations

from pathlib import Path

from claude_bottle.backend.interface import Steps

PROMPT_NAME = ".claude-bottle-prompt.txt"


def provision_prompt(guest: Steps, prompt_file: Path | str, prompt: str) -> str | None:
    """Copy the file with the agent's prompt into the guest; return its path there, None for an empty prompt.

    An empty prompt is copied too: it replaces the file of an earlier launch.
    """
    path = f"{guest.home}/{PROMPT_NAME}"
    guest.copy_in(str(prompt_file), path)
    return path if prompt else None
