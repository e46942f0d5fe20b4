"""The tools that read and post messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter

from moot.adapters import words
from moot.adapters.desk import Desk
from moot.adapters.tool import adds, reads
from moot.client.models import ContextEvent
from moot.client.space_client import part
from moot.response_format import as_json, format_events, format_mentions
from pyro_mcp.errors import NotFound

_SUMMARY_FROM = 50
_EVENTS = TypeAdapter(list[ContextEvent])


@reads
def get_recent_context(
    desk: Desk, since_event_id: words.Since = None, limit: words.Limit = 20, detail: words.Level = "minimal"
) -> str:
    """Return the latest messages of the space, or the first ones after `since_event_id`."""
    found = desk.client.events(desk.space_id, since=since_event_id, limit=limit)
    return format_events(_returned(desk, found, detail), detail)


@reads
def get_mentions(
    desk: Desk,
    since_event_id: words.Since = None,
    limit: Annotated[int, Field(ge=1, le=100)] = 20,
    detail: words.Level = "minimal",
) -> str:
    """Return the latest messages that mention you; 'standard' has their texts, which marks them as read."""
    found = desk.client.mentions(desk.space_id, desk.me.actor_id, since=since_event_id, limit=limit)
    return format_mentions(_returned(desk, found, detail), detail, since_event_id)


@reads
def get_thread(
    desk: Desk, event_id: Annotated[str, Field(description="id of a message in the thread, or of the thread")]
) -> str:
    """Return a whole thread; for a message that has none yet, the message alone."""
    try:
        found = desk.in_space("GET", f"threads/{part(event_id)}")
    except NotFound:
        alone = desk.client.event(desk.space_id, event_id)
        found = {"thread": None, "messages": [alone.model_dump()]}
    _returned(desk, _EVENTS.validate_python(found["messages"]), "full")
    return as_json(found)


@reads
def get_transcript(desk: Desk, start: words.Moment = None, end: words.Moment = None) -> str:
    """Return the messages of a time, in full."""
    found = desk.in_space("GET", "transcript", start=start, end=end)
    _returned(desk, _EVENTS.validate_python(found), "full")
    return as_json(found)


@reads
def get_context_with_summary(desk: Desk, recent_limit: words.Limit = 20, detail: words.Level = "standard") -> str:
    """Return an extract of the older messages, then the latest ones."""
    summary = ""
    if desk.client.status(desk.space_id).event_count > _SUMMARY_FROM:
        summary = str(desk.in_space("GET", "summary").get("summary_text") or "")
    if detail == "minimal":
        return summary or f"(no summary available: the space has fewer than {_SUMMARY_FROM} events)"
    found = _returned(desk, desk.client.events(desk.space_id, limit=recent_limit), detail)
    head = f"# Summary (covers events before the last hour)\n\n{summary}\n\n---\n\n" if summary else ""
    return f"{head}# Recent events ({len(found)} messages)\n\n{format_events(found, detail)}"


@adds
def post_response(
    desk: Desk,
    text: words.Text,
    *,
    parent_event_id: words.Parent = None,
    references: words.References = None,
    mentions: words.Mentions = None,
    message_type: words.MessageType = None,
    thread_id: words.ThreadId = None,
) -> words.Posted:
    """Post a message. Only those whom `mentions` names, or who are in its thread, are told of it."""
    return _posted(
        desk.post(
            text,
            mentions=mentions or (),
            references=references or (),
            message_type=message_type,
            parent_event_id=parent_event_id,
            thread_id=thread_id,
        )
    )


@adds
def share(
    desk: Desk,
    text: words.Text,
    *,
    mentions: words.Mentions = None,
    message_type: words.MessageType = None,
    parent_event_id: words.Parent = None,
    thread_id: words.ThreadId = None,
) -> words.Posted:
    """Post something that others should know, such as a result or a status."""
    return _posted(
        desk.post(
            text,
            mentions=mentions or (),
            message_type=message_type,
            parent_event_id=parent_event_id,
            thread_id=thread_id,
        )
    )


@adds
def reply_to(
    desk: Desk,
    event_id: words.EventId,
    text: words.Text,
    *,
    mentions: words.Mentions = None,
    references: words.References = None,
    message_type: words.MessageType = None,
) -> words.Posted:
    """Answer a message in its thread, which begins with it if there is none. Its speaker is mentioned."""
    original = desk.client.event(desk.space_id, event_id)
    thread_id = original.thread_id
    if thread_id is None:
        begun = desk.in_space("POST", "threads", {"parent_event_id": original.event_id})
        thread_id = str(begun["thread_id"])
    others = [one for one in (original.speaker_id, *(mentions or ())) if one != desk.me.actor_id]
    return _posted(
        desk.post(
            text,
            mentions=others,
            references=references or (),
            message_type=message_type,
            parent_event_id=original.event_id,
            thread_id=thread_id,
        )
    )


@adds
def reply_to_thread(
    desk: Desk,
    thread_id: Annotated[str, Field(description="id of the thread, thr_…")],
    text: words.Text,
    *,
    mentions: words.Mentions = None,
    references: words.References = None,
    message_type: words.MessageType = None,
) -> words.Posted:
    """Post into a thread. All who have spoken in it are told of it."""
    return _posted(
        desk.post(
            text,
            mentions=mentions or (),
            references=references or (),
            message_type=message_type,
            thread_id=thread_id,
        )
    )


def _posted(event: ContextEvent) -> words.Posted:
    return words.Posted(event_id=event.event_id, thread_id=event.thread_id)


def _returned(desk: Desk, events: Sequence[ContextEvent], detail: str) -> Sequence[ContextEvent]:
    """Return events, after noting that the agent reads them, unless their texts are left out."""
    if detail != "minimal":
        desk.mailbox.seen([one.event_id for one in events])
    return events


TOOLS = (
    *(get_recent_context, get_mentions, get_thread, get_transcript, get_context_with_summary),
    *(post_response, share, reply_to, reply_to_thread),
)
