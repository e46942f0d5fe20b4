"""The tools about spaces and their participants."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from moot.adapters import words
from moot.adapters.desk import Desk
from moot.adapters.tool import adds, changes, reads, removes
from moot.client.models import Orientation
from moot.client.space_client import part
from moot.response_format import as_json, format_activity, format_participants, format_space_status, one_line

ADAPTER = "mcp"


class Linked(BaseModel):
    link_id: str


@changes
def join_space(desk: Desk, space_id: str) -> str:
    """Join a space and work in it from now on; it is made if there is none. Returns its status."""
    desk.client.create_space(space_id)
    desk.client.join(space_id, ADAPTER)
    desk.work_in(space_id)
    return as_json(desk.client.status(space_id))


@reads
def list_spaces(desk: Desk) -> str:
    """List the spaces that you can join."""
    return as_json([one.model_dump() for one in desk.client.spaces()])


@changes
def orientation(desk: Desk) -> str:
    """Begin here: who you are, your space, its participants, your unread mentions, and the latest messages."""
    found = desk.client.orientation()
    if found.focus_space is not None:
        desk.work_in(found.focus_space.space_id)
    return _oriented(found)


def _oriented(found: Orientation) -> str:
    me, space = found.identity, found.focus_space
    lines = [f"**Identity:** {one_line(me.display_name)} ({me.actor_type}, {'admin' if me.is_admin else 'non-admin'})"]
    lines.append(
        f"**Focus space:** {space.space_id} — {one_line(space.description) or '(no description)'} [{space.status}]"
        if space
        else "**Focus space:** None (no active spaces)"
    )
    lines += [f"**Unread mentions:** {found.unread_mentions}"] if found.unread_mentions else []
    lines += [f"**Last status:** {one_line(found.last_status)}"] if found.last_status else []
    lines.append("**Participants:**")
    lines += [
        f"  - {one_line(one.name)} (`{one.participant_id}`) {one.participant_type}"
        + (f" — {one_line(one.status)}" if one.status else "")
        for one in found.participants
    ]
    lines += ["", "---", "", found.context or "*No context available; the space has no messages yet.*"]
    return "\n".join(lines)


@reads
def whoami(desk: Desk) -> str:
    """Return your own actor: its id, name and type."""
    return as_json(desk.client.me())


@reads
def list_participants(desk: Desk, detail: words.Level = "minimal") -> str:
    """List who is in the space, with their statuses; 'standard' has the ids to mention."""
    return format_participants(desk.client.participants(desk.space_id), detail)


@changes
def update_status(desk: Desk, status: Annotated[str, Field(max_length=200)]) -> words.Updated:
    """Set your status in the space: what you do now, in a few words."""
    desk.client.set_status(desk.space_id, desk.me.actor_id, status)
    return words.Updated(status="updated")


@reads
def get_space_status(desk: Desk, detail: words.Level = "minimal") -> str:
    """Return the state of the space and the number of its messages."""
    return format_space_status(desk.client.status(desk.space_id), detail)


@changes
def update_space(
    desk: Desk,
    description: str | None = None,
    status: Literal["active", "paused", "archived"] | None = None,
    links: list[str] | None = None,
) -> words.Updated:
    """Change the description, status or links of the space."""
    given = {"description": description, "status": status, "links": links}
    desk.in_space("PATCH", "", {name: value for name, value in given.items() if value is not None})
    return words.Updated(status="updated")


@reads
def get_activity(
    desk: Desk,
    since: words.Moment = None,
    max_events: Annotated[int, Field(ge=1, le=20)] = 5,
    detail: words.Level = "minimal",
) -> str:
    """Return who has said how much lately; by default in the last hour."""
    return format_activity(desk.in_space("GET", "activity", since=since, max_events=max_events), detail)


@reads
def get_summary(desk: Desk, start: words.Moment = None, end: words.Moment = None, regenerate: bool = False) -> str:
    """Return an extract of the space's messages in a time."""
    found = desk.in_space("GET", "summary", start=start, end=end, regenerate=regenerate or None)
    return str(found.get("summary_text") or "(no summary available)")


@adds
def link_space(
    desk: Desk,
    link_type: Annotated[str, Field(description="what the link means, such as 'tracks'")],
    target_space_id: str | None = None,
    target_uri: str | None = None,
    attributes: dict[str, object] | None = None,
) -> Linked:
    """Link the space to another space or to a URI."""
    given = {"target_id": target_space_id, "target_uri": target_uri, "attributes": attributes}
    body = {"link_type": link_type, **{name: value for name, value in given.items() if value is not None}}
    return Linked(link_id=desk.in_space("POST", "links", body)["link_id"])


@reads
def list_links(desk: Desk, link_type: str | None = None) -> str:
    """List the links of the space."""
    return as_json(desk.in_space("GET", "links", link_type=link_type))


@removes
def unlink_space(desk: Desk, link_id: str) -> words.Updated:
    """Remove a link of the space."""
    desk.in_space("DELETE", f"links/{part(link_id)}")
    return words.Updated(status="deleted")


@reads
def search_spaces(
    desk: Desk,
    query: Annotated[str, Field(min_length=1)],
    scope: Annotated[
        Literal["current", "linked", "mine"], Field(description="this space, it and those it links to, or all of yours")
    ] = "linked",
) -> str:
    """Search the messages for words."""
    where = {"current": {"space_id": desk.space_id}, "linked": {"linked_to": desk.space_id}}.get(scope, {})
    return as_json(desk.client.call("GET", "/api/search", params={"q": query, **where}))


TOOLS = (
    *(join_space, list_spaces, orientation, whoami, list_participants, update_status, get_space_status, update_space),
    *(get_activity, get_summary, link_space, list_links, unlink_space, search_spaces),
)
