"""What a transaction has changed that live connections, of all server processes, must learn of after its commit."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class EventsAdded:
    """A space has new events."""

    space_key: int


@dataclass(frozen=True)
class ParticipantChanged:
    """A participant has joined a space, or says something else about itself."""

    space_key: int
    actor_id: str


@dataclass(frozen=True)
class SentAgain:
    """A message is to be sent again to a participant of a space."""

    space_key: int
    actor_id: str


@dataclass(frozen=True)
class AccessChanged:
    """A key of an actor was revoked, or its tenant was suspended."""

    actor_id: str


@dataclass(frozen=True)
class Released:
    """The connections of an actor are to end."""

    actor_id: str


@dataclass(frozen=True)
class Anything:
    """Nobody knows what has changed: the process has not listened for a time."""


Change = EventsAdded | ParticipantChanged | SentAgain | AccessChanged | Released | Anything
_BY_NAME = {
    kind.__name__: kind for kind in (EventsAdded, ParticipantChanged, SentAgain, AccessChanged, Released, Anything)
}


def encoded(change: Change) -> str:
    """Return a change as the text that one server process sends to the others."""
    return json.dumps([type(change).__name__, *astuple(change)])


def decoded(text: str) -> Change:
    """Return the change in a text; `Anything` for one that another version of this program has sent."""
    name, *values = json.loads(text)
    try:
        return _BY_NAME[name](*values)
    except (KeyError, TypeError):
        return Anything()
