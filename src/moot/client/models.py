"""The objects of a space server, with the fields that its clients read. Other fields are ignored."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ContextEvent(BaseModel):
    """One entry of a space's log. `sequence` counts the entries of the space from 1; 0 of a server that has none."""

    event_id: str = ""
    space_id: str = ""
    speaker_id: str = ""
    speaker_name: str = "?"
    speaker_type: str = ""
    text: str = ""
    timestamp: str = ""
    parent_event_id: str | None = None
    references: list[str] = []
    thread_id: str | None = None
    metadata: dict[str, Any] | None = None
    sequence: int = 0


class Participant(BaseModel):
    """An actor that has joined a space."""

    participant_id: str
    name: str
    participant_type: str
    joined_at: str
    agent_adapter: str | None = None
    actor_id: str | None = None
    status: str | None = None
    status_updated_at: str | None = None
    last_seen_at: str | None = None


class Space(BaseModel):
    """A space, as lists show it."""

    space_id: str
    name: str = ""
    description: str = ""
    status: str = "active"
    event_count: int = 0
    last_sequence: int = 0
    last_event_at: str | None = None


class SpaceStatus(BaseModel):
    """A space with its participants."""

    space_id: str
    started_at: str
    description: str = ""
    status: str = "active"
    links: list[str] = []
    participants: list[Participant] = []
    event_count: int = 0
    last_event_at: str | None = None


class Actor(BaseModel):
    """A person or an agent. `api_key_prefix` is null while an agent has no key."""

    actor_id: str
    display_name: str
    actor_type: str = "agent"
    sponsor_id: str | None = None
    tenant_id: str | None = None
    is_admin: bool = False
    email: str | None = None
    agent_profile: str | None = None
    api_key_prefix: str | None = None
    default_space_id: str | None = None
    is_connected: bool | None = None
    focus_space_id: str | None = None


class ActorWithKey(Actor):
    """An actor and its new key, which the server shows only once."""

    api_key: str


class Identity(BaseModel):
    actor_id: str
    display_name: str
    actor_type: str = "agent"
    is_admin: bool = False


class FocusSpace(BaseModel):
    space_id: str
    description: str = ""
    status: str = "active"


class Present(BaseModel):
    """A participant, as orientation shows it."""

    name: str
    participant_id: str
    participant_type: str = "agent"
    status: str | None = None


class Orientation(BaseModel):
    """The information that an agent needs to begin."""

    identity: Identity
    focus_space: FocusSpace | None = None
    unread_mentions: int = 0
    last_status: str | None = None
    participants: list[Present] = []
    context: str | None = None


class Delivery(BaseModel):
    """The server's record of a message to one recipient."""

    event_id: str
    sequence: int
    recipient_id: str
    relevance: str
    state: str


class Cursor(BaseModel):
    """A participant's position in a space."""

    space_id: str
    pushed_sequence: int
    acknowledged_sequence: int
    last_sequence: int
