"""The tools about the agent's own session: its archive, its context, and whether the server answers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from moot.adapters.desk import Desk
from moot.adapters.harness_of_role import harness_of
from moot.adapters.session_archive import describe, find_transcript
from moot.adapters.tool import adds, reads
from moot.agents.prompt import type_command
from moot.agents.tmux import Tmux, session_name
from moot.client.errors import ServerFailed, Unreachable
from moot.config import project_folder
from pyro_mcp.errors import Conflict, DeadlineExceeded, NotFound, PyroError

_PAUSE_SECONDS = 0.25


class Archived(BaseModel):
    archive_id: str
    session_id: str


@adds
def archive_session(desk: Desk) -> Archived:
    """Store a summary of your session at the server, once for each session."""
    transcript = find_transcript(Path.home(), Path.cwd(), known=desk.mailbox.fact("transcript"))
    if transcript is None:
        raise NotFound("No JSONL transcript file found", hint="only Claude Code writes one, below ~/.claude/projects")
    summary, metadata = describe(transcript, role=desk.role.name, folder=Path.cwd())
    body = {"session_id": transcript.stem, "summary": summary, "metadata": metadata}
    found = desk.in_space("POST", "archives", body)
    return Archived(archive_id=found["archive_id"], session_id=transcript.stem)


@adds
def request_context_reset(
    desk: Desk,
    mode: Annotated[Literal["compact", "clear"], Field(description="shorten your context, or empty it")] = "compact",
) -> str:
    """Shorten or empty your own context, after this turn. Call it when your work is stored elsewhere."""
    session = os.environ.get("CONVO_TMUX_SESSION") or session_name(desk.role.name)
    tmux, harness = Tmux(str(project_folder())), harness_of(desk.role.name)
    lines = [harness.compact_command]
    if mode == "clear":
        lines = [harness.clear_command, f"You are {desk.role.name}. Call orientation() and go on."]
    if not lines[0]:
        raise Conflict(f"{harness.name} has no command for that", hint="ask a person to start you anew")
    try:
        for line in lines:
            type_command(tmux, session, harness, desk.role.run_folder, line)
    except NotFound as error:
        raise NotFound(
            f"No tmux session '{session}' found", hint="only agents that `moot up` started can do this"
        ) from error
    return f"Sent {lines[0]} to {session}; it takes effect when this turn is over."


@reads
def wait_for_health(desk: Desk, timeout_seconds: Annotated[float, Field(ge=0, le=300)] = 60.0) -> str:
    """Wait until the space server answers again, when another tool says that it does not."""
    end = time.monotonic() + timeout_seconds
    last: PyroError
    while True:
        try:
            desk.client.health()
            return "The space server answers."
        except (Unreachable, ServerFailed, DeadlineExceeded) as error:
            last = error
        if time.monotonic() >= end:
            raise DeadlineExceeded(
                f"the space server did not answer within {timeout_seconds:g} s: {last.message}", hint=last.hint
            ) from last
        time.sleep(_PAUSE_SECONDS)


TOOLS = (archive_session, request_context_reset, wait_for_health)
