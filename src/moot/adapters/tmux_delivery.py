"""Messages typed into the terminal of an idle agent: the road that works for every harness.

It types only when the agent is idle by the word of its hooks, and its screen shows that its prompt has the focus and is
empty: a person may be writing there, and in a dialog Enter would be an answer (`moot.agents.prompt`). Dialogs that a
person opens, such as `/model`, are on the screen only. The line is one line whatever the message has in it
(`moot.agents.tmux`), and nothing in it is a command of the harness (its `inert`). Enter counts only when the harness
has taken the line: its hook has seen the offer's token, or its prompt is empty again.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from moot.adapters.desk import Desk
from moot.agents.prompt import submit
from moot.agents.screen import PromptReader
from moot.agents.state import IDLE, read_state
from moot.agents.tmux import Tmux
from moot.mailbox.mailbox import Offer
from moot.mailbox.message_block import blocks
from pyro_mcp.errors import HostCommandFailed, NotFound

CHANNEL_FIRST_SECONDS = 2.0
"""The time that a message has for the channel before it is typed."""
_LOOK_SECONDS = 0.05
_QUIET_SECONDS = 5.0
_MOST_MESSAGES, _MOST_CHARACTERS = 5, 6000
_log = logging.getLogger("convo.tmux")


class TypedAt(PromptReader, Protocol):
    """What the road needs to know of a harness."""

    reports_state: bool

    def inert(self, text: str) -> str: ...


class TmuxDelivery:
    """The road `tmux` of one desk: `step` types what waits, if it may."""

    def __init__(
        self,
        desk: Desk,
        tmux: Tmux,
        session: str,
        harness: TypedAt,
        *,
        now: Callable[[], float] = time.time,
        channel_first_seconds: float = CHANNEL_FIRST_SECONDS,
    ) -> None:
        self._desk = desk
        self._tmux = tmux
        self._session = session
        self._harness = harness
        self._now = now
        self._channel_first = channel_first_seconds
        self._last: tuple[tuple[str, ...], float] = ((), 0.0)

    def step(self) -> bool:
        """Type the next messages; return whether the harness has taken them. False when nothing was typed."""
        try:
            idle_since = self._idle_since()
            if idle_since is None:
                return False
            offer = self._desk.mailbox.claim(
                "tmux",
                idle_since=idle_since,
                least_age=self._channel_first,
                most_messages=_MOST_MESSAGES,
                most_characters=_MOST_CHARACTERS,
            )
            return offer is not None and self._type(offer)
        except (NotFound, HostCommandFailed) as error:  # the session has ended meanwhile
            _log.info("%s: %s", self._session, error)
            return False

    def _idle_since(self) -> float | None:
        """Return since when the agent waits for a prompt; None when it does not, or nobody can tell."""
        pane = self._tmux.pane(self._session)
        if pane is None or pane.dead or pane.in_mode:
            return None
        state = read_state(self._desk.role.run_folder)
        if self._harness.reports_state and (state is None or state.word != IDLE or state.time < _started(pane.pid)):
            return None
        screen = self._tmux.look(self._session)
        if self._harness.prompt_is_empty(screen) is not True:
            return None
        if self._harness.reports_state:
            return state.time if state else None
        if screen.rows != self._last[0]:
            self._last = (screen.rows, self._now())
        since = self._last[1]
        return since if self._now() - since > _QUIET_SECONDS else None

    def _type(self, offer: Offer) -> bool:
        # If this fails, the line may be typed all the same: the end of the session or of its time makes the offer void.
        taken = submit(
            self._tmux,
            self._session,
            self._harness,
            self._harness.inert(blocks(offer.messages, offer.token)),
            accepted=lambda seconds: self._accepted(offer, seconds),
        )
        if not taken:
            _log.warning("%s has not taken %d message(s) yet", self._session, len(offer.messages))
        elif not self._harness.reports_state:
            self._desk.mailbox.seen_in(offer.token)  # no hook will say so
        return taken

    def _accepted(self, offer: Offer, seconds: float) -> bool:
        """Wait until the harness has taken a line; return whether it has."""
        end = time.monotonic() + seconds
        while True:
            if self._desk.mailbox.accepted(offer):
                return True
            if not self._harness.reports_state and self._harness.prompt_is_empty(self._tmux.look(self._session)):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK_SECONDS)


def _started(pid: int) -> float:
    """Return when a process was started: a state from before is that of an earlier session; 0.0 if it has ended."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.time() - uptime + ticks / os.sysconf("SC_CLK_TCK")
