"""The file `state` of a role's run folder: what the agent does now, as the hooks of its harness last reported it.

It imports only the standard library, because each hook starts a Python of its own.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

RUNNING, IDLE, WAITING = "running", "idle", "waiting"
WORDS = (RUNNING, IDLE, WAITING)
"""What a hook can report; an agent that waits shows a permission prompt."""
FILE = "state"
_LARGEST = 4096


@dataclass(frozen=True)
class AgentState:
    """One report: the word, the harness's session, and when (seconds since 1970)."""

    word: str
    session_id: str
    time: float


def read_state(run_folder: Path) -> AgentState | None:
    """Return the last report of an agent; None when there is none, or no valid one."""
    try:
        with open(run_folder / FILE, "rb") as file:
            found = json.loads(file.read(_LARGEST))
        word, session_id, moment = found["word"], found["session_id"], float(found["time"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if word not in WORDS or not isinstance(session_id, str):
        return None
    return AgentState(word, session_id, moment)


def write_state(run_folder: Path, word: str, session_id: str = "") -> None:
    """Report what the agent does, whole or not at all. Raises `OSError`, also when the folder was removed."""
    if word not in WORDS:
        raise ValueError(f"{word!r} is not a state")
    scratch = run_folder / f".{FILE}-{os.getpid()}"
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "w") as file:
            json.dump(asdict(AgentState(word, session_id, time.time())), file)
        os.replace(scratch, run_folder / FILE)
    finally:
        scratch.unlink(missing_ok=True)
