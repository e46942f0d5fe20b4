"""The hooks of Claude Code in a bottle: each hands its input to the door of its role, and prints the answer.

The transcript stays in the guest. A hook sends the tokens of the offers that stand in it, so that the host knows what
the agent has read; lines about messages that wait in a queue do not count.
"""

from __future__ import annotations

from typing import Any

TOKEN_VARIABLE = "MOOT_DOOR_TOKEN"  # noqa: S105 - the variable that has its placeholder
SEEN_HEADER = "Moot-Seen"
EVENTS = {
    "SessionStart": "",
    "UserPromptSubmit": "",
    "PostToolUse": "",
    "PostToolUseFailure": "",
    "PermissionRequest": "",
    "PermissionDenied": "",
    "Notification": "idle_prompt|permission_prompt|elicitation_dialog",
    "Stop": "",
    "StopFailure": "",
    "SessionEnd": "",
}
"""The events with a hook, and the matcher of each."""
HOOK_SECONDS = 10
_MOST_TOKENS = 40
# An exit code of 2 would make Claude Code block the event of the hook; after 1, it goes on as if there were no hook.
_SCRIPT = """\
given=$(cat)
transcript=$(printf %s "$given" | sed -n 's/.*"transcript_path":"\\([^"]*\\)".*/\\1/p' | head -n 1)
seen=$(grep -av '"type":"queue-operation"' "$transcript" 2>/dev/null | grep -aoE 'ofr_[0-9a-f]{{24}}' \
    | tail -n {most} | sort -u | tr '\\n' ' ')
printf %s "$given" | curl --silent --fail --max-time {seconds} --noproxy '*' --data-binary @- \
    --header "Authorization: Bearer ${variable}" --header "{header}: $seen" \
    --header 'Content-Type: application/json' http://{host}/hook/{event} || exit 1
"""


def hooks(host: str) -> dict[str, list[dict[str, Any]]]:
    """Return the hooks of the settings of Claude Code, for a door that the guest reaches by the name `host`."""
    return {
        event: [{"matcher": matcher, "hooks": [{"type": "command", "command": _command(host, event), "timeout": 10}]}]
        for event, matcher in EVENTS.items()
    }


def _command(host: str, event: str) -> str:
    return _SCRIPT.format(
        host=host, event=event, most=_MOST_TOKENS, seconds=HOOK_SECONDS - 1, variable=TOKEN_VARIABLE, header=SEEN_HEADER
    )
