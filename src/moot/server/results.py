"""The objects that the server returns, with the fields of the published interface and a few of our own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

ActorType = Literal["human", "agent"]
SpaceState = Literal["active", "paused", "archived"]
DeliveryState = Literal["queued", "pushed", "acknowledged", "dead"]
Relevance = Literal["mention", "thread_reply", "decision"]
DecisionState = Literal["proposed", "resolved", "rejected"]
QuestionState = Literal["open", "answered", "deferred"]
TimerType = Literal["interval", "delay"]


class Actor(BaseModel):
    """A person or an agent. `api_key_prefix` is null while an agent has no key."""

    actor_id: str
    display_name: str
    actor_type: ActorType
    sponsor_id: str | None
    tenant_id: str | None
    is_admin: bool
    email: str | None
    agent_profile: str | None
    api_key_prefix: str | None
    default_space_id: str | None
    is_connected: bool | None
    focus_space_id: str | None
    metadata: dict[str, Any] | None
    last_seen_at: str | None
    created_at: str
    updated_at: str


class ActorWithKey(Actor):
    """An actor and its new key, which is shown this once."""

    api_key: str


class PersonalToken(BaseModel):
    """A personal access token, without its secret part."""

    token_id: str
    name: str
    prefix: str
    created_at: str
    expires_at: str | None
    revoked_at: str | None


class NewPersonalToken(PersonalToken):
    """A new personal access token; `token` is shown this once."""

    token: str


class Event(BaseModel):
    """One entry of a space's log. `sequence` counts the entries of the space from 1, without holes."""

    event_id: str
    space_id: str
    speaker_id: str
    speaker_name: str
    speaker_type: str
    text: str
    timestamp: str
    parent_event_id: str | None
    references: list[str]
    thread_id: str | None
    metadata: dict[str, Any] | None
    sequence: int


class Participant(BaseModel):
    """An actor that has joined a space."""

    participant_id: str
    name: str
    participant_type: ActorType
    joined_at: str
    agent_adapter: str | None
    actor_id: str
    status: str | None
    status_updated_at: str | None
    last_seen_at: str | None


class Space(BaseModel):
    """A space, as lists show it. `event_count` is without the entries that were pruned; `last_sequence` counts them."""

    space_id: str
    name: str
    description: str
    status: SpaceState
    links: list[str]
    started_at: str
    event_count: int
    last_sequence: int
    last_event_at: str | None


class SpaceStatus(Space):
    """A space with its participants."""

    participants: list[Participant]


class Delivery(BaseModel):
    """The delivery of a message to one recipient."""

    event_id: str
    sequence: int
    recipient_id: str
    relevance: Relevance
    state: DeliveryState
    queued_at: str
    pushed_at: str | None
    acknowledged_at: str | None
    dead_at: str | None
    reason: str | None


class Cursor(BaseModel):
    """A participant's position in a space: all events up to these numbers were sent to it, or acknowledged by it."""

    space_id: str
    pushed_sequence: int
    acknowledged_sequence: int
    last_sequence: int


class Thread(BaseModel):
    """A conversation that begins at one event."""

    thread_id: str
    space_id: str
    parent_event_id: str
    subject: str | None
    created_by: str
    created_at: str


class ThreadWithMessages(BaseModel):
    """A thread and its messages, the first of which is the event where it begins."""

    thread: Thread
    messages: list[Event]


class Decision(BaseModel):
    decision_id: str
    space_id: str
    proposed_by: str
    text: str
    status: DecisionState
    question_id: str | None
    resolved_by: str | None
    resolved_by_type: ActorType | None
    resolved_at: str | None
    resolution: str | None
    created_at: str


class DecisionCounts(BaseModel):
    """The number of decisions of a space in each state."""

    proposed: int = 0
    resolved: int = 0
    rejected: int = 0


class Question(BaseModel):
    question_id: str
    space_id: str
    asked_by: str
    assigned_to: str | None
    text: str
    status: QuestionState
    decision_id: str | None
    answer: str | None
    created_at: str
    updated_at: str


class Link(BaseModel):
    link_id: str
    space_id: str
    link_type: str
    target_id: str | None
    target_uri: str | None
    attributes: dict[str, Any] | None
    created_by: str
    created_at: str


class Timer(BaseModel):
    """A call that the server makes for an agent, once or again and again."""

    timer_id: str
    tool_name: str
    tool_args: dict[str, Any]
    timer_type: TimerType
    duration_secs: int
    fire_count: int
    space_id: str
    created_at: str
    next_fire_at: str | None


class Archive(BaseModel):
    """The summary of one session of a harness."""

    archive_id: str
    space_id: str
    actor_id: str
    session_id: str
    summary: str
    metadata: dict[str, Any] | None
    created_at: str


class ActiveParticipant(BaseModel):
    name: str
    participant_id: str
    event_count: int
    last_active: str
    summary_events: list[dict[str, Any]]


class Activity(BaseModel):
    """The activity of each speaker in a space since a time."""

    since: str
    participants: list[ActiveParticipant]


class Identity(BaseModel):
    actor_id: str
    display_name: str
    actor_type: ActorType
    is_admin: bool


class FocusSpace(BaseModel):
    space_id: str
    name: str
    description: str
    status: SpaceState


class Present(BaseModel):
    """A participant, as orientation shows it."""

    name: str
    participant_id: str
    participant_type: ActorType
    status: str | None


class Orientation(BaseModel):
    """The information that an agent needs to begin: its identity, its space, and its unread mentions."""

    identity: Identity
    focus_space: FocusSpace | None
    unread_mentions: int
    last_status: str | None
    participants: list[Present]
    context: str | None


class Summary(BaseModel):
    """An extract of a part of a space's log."""

    space_id: str
    start: str | None
    end: str | None
    event_count: int
    summary_text: str


class Found(BaseModel):
    """One result of a search."""

    event_id: str
    space_id: str
    speaker_id: str
    speaker_name: str
    text: str
    timestamp: str
    thread_id: str | None
    snippet: str


class InstalledAgent(BaseModel):
    """An agent of a team, and its key, which is shown this once."""

    actor_id: str
    api_key: str
    display_name: str


class Installation(BaseModel):
    """A team that was installed: a space and its agents by role."""

    installation_id: str
    team_id: str
    space_id: str
    space_name: str
    actors: dict[str, InstalledAgent]


class Invite(BaseModel):
    """An invitation of a person into a tenant, without its code."""

    invite_id: str
    created_by: str
    created_at: str
    expires_at: str
    redeemed_at: str | None
    redeemed_by: str | None


class NewInvite(Invite):
    """A new invitation; `code` is shown this once."""

    code: str


class RedeemedInvite(BaseModel):
    """A person who was invited, and the token that is shown this once."""

    actor_id: str
    display_name: str
    tenant_id: str
    default_space_id: str
    token: str


class PromptRule(BaseModel):
    """An instruction of a person for the agents of a tenant, or of one space when `space_id` is not null."""

    rule_id: str
    space_id: str | None
    name: str
    text: str
    enabled: bool
    created_by: str
    created_at: str
    updated_at: str


class FetchedKey(BaseModel):
    """A key that a person has let a program fetch."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - what OAuth calls it
    expires_in: int
    scope: str


class Done(BaseModel):
    """The answer of a call that has nothing else to say."""

    status: str


class Problem(BaseModel):
    """The answer to a call that failed. A conflict about a connected agent has more fields."""

    code: str
    detail: str
