"""Lines that are typed at the prompt of an agent, with Enter: the only way by which anything of ours presses it.

A line is typed only while the prompt is known to have the focus and to be empty. Enter is pressed only while the prompt
is known to have the focus, with something typed at it. On any other screen Enter could be an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from moot.agents.screen import PromptReader
from moot.agents.state import WAITING, read_state
from moot.agents.tmux import Tmux
from pyro_mcp.errors import Conflict

_LOOK_SECONDS = 0.05
_DRAW_SECONDS = 3.0
"""The time that a program has to draw what was typed, or its prompt after a command."""
_TAKE_SECONDS = 3.0
_MOST_PRESSES = 3


def submit(
    tmux: Tmux, session: str, reader: PromptReader, text: str, *, accepted: Callable[[float], bool] | None = None
) -> bool:
    """Type a line, press Enter, and return whether the program took it.

    `accepted` waits at most that many seconds and returns whether the program has taken the line, by its hook for
    example; without it, an empty prompt says so.
    """

    def prompt(wanted: Callable[[bool | None], bool], seconds: float) -> bool:
        return _await(lambda: wanted(reader.prompt_is_empty(tmux.look(session))), seconds)

    def has_gone(seconds: float) -> bool:
        return prompt(lambda empty: empty is not False, seconds)

    taken = accepted or has_gone
    if reader.prompt_is_empty(tmux.look(session)) is not True:
        return False
    tmux.type_line(session, text)
    if not prompt(lambda empty: empty is False, _DRAW_SECONDS):
        return False
    for _ in range(_MOST_PRESSES):
        tmux.press_enter(session)
        if taken(_TAKE_SECONDS):
            return True
        if reader.prompt_is_empty(tmux.look(session)) is not False:
            return taken(_TAKE_SECONDS)
    return False


def type_command(tmux: Tmux, session: str, reader: PromptReader, run_folder: Path, words: str) -> None:
    """Type a command of the harness at its prompt, also while the agent works: the harness then keeps it for later.

    Raises `Conflict` when the agent waits for permission, shows a dialog, has something typed at its prompt, or does
    not take the command.
    """
    role = run_folder.name
    hint = f"look at it: moot attach {role}"
    state = read_state(run_folder)
    if state is not None and state.word == WAITING:
        raise Conflict(f"{role} waits for permission", hint=f"answer it first: moot attach {role}")
    if not _await(lambda: reader.prompt_is_empty(tmux.look(session)) is True, _DRAW_SECONDS):
        raise Conflict(f"something is typed at the prompt of {role}, or it shows a dialog", hint=hint)
    if not submit(tmux, session, reader, words):
        raise Conflict(f"{role} does not take the command {words}", hint=hint)


def _await(holds: Callable[[], bool], seconds: float) -> bool:
    """Look at the terminal, whose changes no event announces, until something holds; return whether it does."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True
