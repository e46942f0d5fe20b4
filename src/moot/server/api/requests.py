"""The bodies of requests. Fields that were renamed since 0.3.0 are accepted in both spellings."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from moot.server.api.fields import Body, Identifier, JsonObject, Line, Name, ShownName, ShownWord, Uri, Uris, Word
from moot.server.identity.callers import Caller
from moot.server.results import QuestionState, SpaceState, TimerType
from pyro_mcp.errors import InvalidRequest


class ByCaller(BaseModel):
    """A body that may name its sender, which can only be the caller."""

    SENDER: ClassVar[tuple[str, ...]]
    """The fields that name the sender."""

    def check(self, caller: Caller) -> None:
        """Raise `InvalidRequest` when the sender is another actor than the caller."""
        for name in self.SENDER:
            given = getattr(self, name)
            if given is not None and given != caller.actor_id:
                raise InvalidRequest(
                    f"{name} is {given[:200]!r}, but this key belongs to {caller.actor_id}",
                    hint="leave it out, or use the actor_id of GET /api/actors/me",
                )


def left_out() -> Any:
    """Return the default of a field that may be left out, but that may not be null."""
    return Field(default_factory=lambda: None)


class NewSpace(BaseModel):
    space_id: Identifier | None = None
    name: ShownName | None = None
    description: Body = ""


class SpaceChanges(BaseModel):
    name: ShownName = left_out()
    description: Body = left_out()
    status: SpaceState = left_out()
    links: Uris = left_out()


class Join(BaseModel):
    """A body of a call to join. The caller joins; the id, name and type in the body are ignored."""

    participant_id: Word | None = None
    name: Line | None = None
    participant_type: Word | None = None
    agent_adapter: Word | None = None


class NewStatus(BaseModel):
    status: ShownWord | None


class NewEvent(ByCaller):
    """A message. `participant_id` is the newer name of `speaker_id`."""

    SENDER = ("speaker_id", "participant_id")
    speaker_id: Word | None = None
    participant_id: Word | None = None
    speaker_name: Line | None = None
    speaker_type: Word | None = None
    text: Body
    metadata: JsonObject | None = None
    parent_event_id: Word | None = None
    references: Uris | None = None
    thread_id: Word | None = None


class NewResponse(ByCaller):
    """A message of an agent. `participant_id` is the newer name of `agent_id`."""

    SENDER = ("agent_id", "participant_id")
    agent_id: Word | None = None
    participant_id: Word | None = None
    agent_name: Line | None = None
    text: Body
    metadata: JsonObject | None = None
    parent_event_id: Word | None = None
    references: Uris | None = None
    thread_id: Word | None = None


class NewSpeech(ByCaller):
    """A body with spoken words, as text."""

    SENDER = ("speaker_id", "participant_id")
    speaker_id: Word | None = None
    participant_id: Word | None = None
    speaker_name: Line | None = None
    text: Body


class Acknowledgement(BaseModel):
    """A body that acknowledges all messages up to a number, or only the named ones."""

    sequence: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    event_ids: Annotated[list[Identifier], Field(max_length=200)] | None = None


class NewActor(BaseModel):
    display_name: ShownName
    agent_profile: Line | None = None


class ActorChanges(BaseModel):
    """Null clears `email`, `agent_profile` and `metadata`."""

    display_name: ShownName = left_out()
    email: Name | None = None
    agent_profile: Name | None = None
    metadata: JsonObject | None = None


class Focus(BaseModel):
    actor_ids: Annotated[list[Identifier], Field(min_length=1, max_length=200)]
    space_id: Identifier | None


class NewPersonalAccessToken(BaseModel):
    name: Annotated[ShownName, Field(max_length=64)]
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


class TeamToInstall(BaseModel):
    """A template by its name, also as `mootup/NAME`. Each template has one version."""

    archetype_id: Identifier
    archetype_version: Word | None = None
    space_name: ShownName | None = None


class SessionRequest(BaseModel):
    token: Identifier


class NewInvitation(BaseModel):
    expires_in_days: Annotated[int, Field(ge=1, le=90)] = 7


class Redemption(BaseModel):
    code: Identifier
    display_name: ShownName


class NewPromptRule(BaseModel):
    """A rule for one space, or for all spaces of the tenant when `space_id` is null."""

    name: ShownName
    text: Body
    space_id: Word | None = None
    enabled: bool = True


class PromptRuleChanges(BaseModel):
    """Null clears `space_id`."""

    name: ShownName = left_out()
    text: Body = left_out()
    space_id: Word | None = None
    enabled: bool = left_out()


class NewThread(BaseModel):
    parent_event_id: Identifier
    subject: Name | None = None


class NewDecision(ByCaller):
    SENDER = ("proposed_by",)
    proposed_by: Word | None = None
    text: Annotated[Body, Field(min_length=1)]
    question_id: Word | None = None


class Resolution(ByCaller):
    SENDER = ("resolved_by",)
    resolved_by: Word | None = None
    resolution: Body
    status: Literal["resolved", "rejected"] = "resolved"


class NewQuestion(ByCaller):
    SENDER = ("asked_by",)
    asked_by: Word | None = None
    text: Annotated[Body, Field(min_length=1)]
    assigned_to: Word | None = None


class QuestionChanges(BaseModel):
    """Null clears `answer` and `assigned_to`."""

    status: QuestionState = left_out()
    answer: Body | None = None
    assigned_to: Word | None = None


class NewLink(BaseModel):
    link_type: Identifier
    target_id: Word | None = None
    target_uri: Uri | None = None
    attributes: JsonObject | None = None


class NewTimer(BaseModel):
    tool_name: Word
    tool_args: JsonObject = {}
    timer_type: TimerType
    duration_secs: Annotated[int, Field(ge=0, le=366 * 86_400)]


class NewArchive(BaseModel):
    session_id: Identifier
    summary: Body
    metadata: JsonObject | None = None


def given_fields(body: BaseModel) -> dict[str, Any]:
    """Return the fields that a client sent; null clears one that may be null."""
    return body.model_dump(exclude_unset=True)
