"""The arguments that several tools share, with what a model reads of each."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from moot.response_format import Detail

Level = Annotated[Detail, Field(description="'minimal', 'standard' or 'full'; minimal has no texts of messages")]
Text = Annotated[str, Field(description="the message; others read it as it is", max_length=65_536)]
Mentions = Annotated[
    list[str] | None,
    Field(description="participant ids of those who must read it; list_participants(detail='standard') has them"),
]
References = Annotated[list[str] | None, Field(description="URIs that the message is about")]
MessageType = Annotated[
    str | None,
    Field(
        description="feature, question, git_request, stack_request, review_request, code_share, status_update, "
        "decision_propagated, retro or bug"
    ),
]
EventId = Annotated[str, Field(description="id of a message, evt_…")]
Parent = Annotated[str | None, Field(description="id of the message that this one answers")]
ThreadId = Annotated[str | None, Field(description="id of the thread that it belongs to, thr_…")]
Since = Annotated[str | None, Field(description="only what came after this message")]
Limit = Annotated[int, Field(ge=1, le=200)]
Moment = Annotated[str | None, Field(description="a time, ISO 8601 with an offset")]


class Posted(BaseModel):
    """A message that was posted."""

    event_id: str
    thread_id: str | None


class Updated(BaseModel):
    status: str
