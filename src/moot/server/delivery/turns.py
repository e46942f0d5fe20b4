"""The calls that acknowledge messages, because they show that the recipient has had a turn since the push.

A client can acknowledge each message explicitly, and says so with the header `X-Moot-Acknowledge: explicit`; then its
calls acknowledge nothing. The published client does not, so the server infers it from other calls: a model decides on
each call of the MCP adapter, in a turn that began with everything that was pushed before. So

* a write into a space acknowledges all messages that were pushed to the writer there before. To join a space and to
  send a heartbeat are no such writes: the published channel adapter does both without a turn;
* a read of mentions, of a thread or of one event acknowledges the messages to the reader that it returns.

Reading the log itself acknowledges nothing, because the published channel adapter does so without a turn.
"""

from __future__ import annotations

from collections.abc import Iterable

from moot.server.database.transaction import Transaction
from moot.server.delivery import receipts
from moot.server.identity.callers import Caller
from moot.server.results import Event
from moot.server.spaces import spaces
from moot.server.spaces.spaces import Room


def wrote(tx: Transaction, caller: Caller, room: Room) -> None:
    """Acknowledge what was pushed to the caller before it wrote into a space."""
    receipts.acknowledge_pushed(tx, room, caller.actor_id)


def has_read(tx: Transaction, caller: Caller, space_id: str, events: Iterable[Event]) -> None:
    """Acknowledge those of these messages that are addressed to the caller."""
    room = spaces.find(tx, caller, space_id)
    receipts.acknowledge(tx, room, caller.actor_id, (event.sequence for event in events))
