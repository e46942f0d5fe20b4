"""What each event of a harness means for the state of the agent and for its messages.

Claude Code and Codex have the same events, inputs and answers (https://docs.anthropic.com/en/docs/claude-code/hooks).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moot.agents.state import IDLE, RUNNING, WAITING, write_state
from moot.mailbox.mailbox import Mailbox, Offer
from moot.mailbox.message_block import blocks
from moot.mailbox.transcripts import tokens_in

Json = dict[str, Any]
_WORDS = {
    "SessionStart": IDLE,
    "UserPromptSubmit": RUNNING,
    "PostToolUse": RUNNING,
    "PostToolUseFailure": RUNNING,
    "PermissionRequest": WAITING,
    "PermissionDenied": RUNNING,
    "Stop": IDLE,
    "StopFailure": IDLE,
    "Interrupt": IDLE,
    "SessionEnd": IDLE,
}
_WORDS_OF_NOTIFICATIONS = {"idle_prompt": IDLE, "permission_prompt": WAITING, "elicitation_dialog": WAITING}
_BETWEEN_TOOLS = ("PostToolUse", "PostToolUseFailure")
_ADDED, _REFUSED = "Added", "Refused"
"""What OpenCode's plugin tells of a text that it was to put into the result of a tool: there is no transcript."""
_OFFERING = ("UserPromptSubmit", *_BETWEEN_TOOLS, "Stop")
_MOST_BETWEEN_TOOLS, _MOST_AT_REST = 6_000, 16_000
_FIRST_LINE = "New messages from your space. Answer with reply_to, or go on if nothing is asked of you.\n"


def answer(event: str, run_folder: str, given: Json, *, harness: str = "claude-code") -> Json | None:
    """Report the event, and return the answer of the hook, None for nothing to say. Without a run folder do nothing."""
    folder = Path(run_folder)
    if not folder.is_dir() or not isinstance(given, dict):
        return None
    if given.get("agent_id"):
        return None  # within a subagent: the agent goes on waiting for it, and would not see a message
    text = ""
    try:
        text = _messages(event, folder, given, harness)
    finally:  # also with a mailbox that cannot be read
        word = _word(event, given)
        if word is not None:
            write_state(folder, RUNNING if text and event == "Stop" else word, str(given.get("session_id") or ""))
    if not text:
        return None
    if event == "Stop" and harness == "codex":
        return {"decision": "block", "reason": text}
    # At Stop too: the turn goes on with it. Claude Code would show the reason of a block twice.
    return {"hookSpecificOutput": {"hookEventName": event, "additionalContext": text}}


def _word(event: str, given: Json) -> str | None:
    if event == "Notification":
        return _WORDS_OF_NOTIFICATIONS.get(str(given.get("notification_type")))
    if event == "SessionStart" and given.get("source") == "compact":
        return None  # also in the middle of a turn
    return _WORDS.get(event)


def _messages(event: str, folder: Path, given: Json, harness: str) -> str:
    """Record what the agent has read; return the messages that it gets now, "" for none."""
    box = Mailbox.existing(folder / "mailbox.db")
    if box is None:
        return ""
    try:
        transcript = given.get("transcript_path")
        path = Path(transcript) if isinstance(transcript, str) and transcript else None
        if event == "SessionStart":
            box.begin_session(str(given.get("session_id") or ""), path)
        elif path is not None:
            box.read_transcript(path)
        if event == "UserPromptSubmit":
            box.seen_in(str(given.get("prompt") or ""))
        if event == _ADDED:
            box.seen_in(str(given.get("text") or ""))
        if event == _REFUSED:
            for token in tokens_in(str(given.get("text") or "")):
                box.withdraw(Offer(token, "hook", ()))
        if event == "SessionEnd":
            box.end_session()
        if event not in (_BETWEEN_TOOLS if harness == "opencode" else _OFFERING):
            return ""
        between = event in _BETWEEN_TOOLS
        most = _MOST_BETWEEN_TOOLS if between else _MOST_AT_REST
        offer = box.claim("hook", urgent_only=between, most_characters=most)
        if offer is None:
            return ""
        return _FIRST_LINE + blocks(offer.messages, offer.token)
    finally:
        box.close()
