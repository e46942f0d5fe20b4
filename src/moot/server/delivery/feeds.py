"""The live part of delivery: the last frames of each space in memory, and its subscriptions, on one event loop.

A subscription is a position in the log, not a queue: it reads on from there, from the feed's last frames or from the
database. So a slow subscriber costs no memory, and one that was away continues without a missing or doubled event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from moot.server.database.changes import (
    AccessChanged,
    Anything,
    Change,
    EventsAdded,
    ParticipantChanged,
    Released,
    SentAgain,
)
from moot.server.database.database import Database
from moot.server.database.transaction import Transaction
from moot.server.delivery import receipts
from moot.server.events import reading
from moot.server.identity.callers import Caller, authenticate
from moot.server.results import Event
from moot.server.spaces import participants, spaces
from moot.server.spaces.spaces import Room
from pyro_mcp.errors import NotFound, PyroError

_log = logging.getLogger("moot.server")
_KEPT_FRAMES = 512
_MOST_KEPT = 8 << 20
_PAGE = 200
_LONG_PAGE = 4 << 20
_MOST_ASIDES = 100


class Closed(Exception):
    """A subscription that ends: the close code of a WebSocket, and what the client should do."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


RESTART = Closed(1012, "the server restarts; resume with since")
REVOKED = Closed(4401, "the key is not valid any more")
UNAVAILABLE = Closed(1013, "the database does not answer; resume with since")
RELEASED = Closed(4403, "the sponsor has ended the connections of this agent")
TOO_SLOW = Closed(4408, "too slow; resume with since")


@dataclass(frozen=True)
class Frame:
    """One text for a subscriber; `sequence` is 0 when it is no new entry of the log."""

    text: str
    sequence: int = 0
    again: int = 0
    """The number of a message that is sent although the cursor has passed it."""


def event_frame(event: Event, **more: object) -> str:
    """Return the text of the frame that carries an event."""
    return json.dumps({"type": "context_event", "data": event.model_dump(), **more}, ensure_ascii=False)


def gap_frame(room: Room, last: int) -> Frame:
    """Return the frame that says that the events up to a number do not come."""
    return Frame(json.dumps({"type": "gap", "space_id": room.space_id, "up_to_sequence": last}))


@dataclass(eq=False)
class Subscription:
    """One live connection of an actor to a space, and the last event that was sent over it."""

    room: Room
    caller: Caller
    token: str
    position: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    asides: deque[Frame] = field(default_factory=lambda: deque(maxlen=_MOST_ASIDES))
    send_again: bool = True
    sent_again: int | None = None
    """The last message that was sent again, while those are looked for that an earlier connection may have lost.

    Only a subscriber with a position is sent them: the others may not know a message that comes twice.
    """
    ending: Closed | None = None

    def end(self, why: Closed) -> None:
        self.ending = self.ending or why
        self.wake.set()


@dataclass(eq=False)
class _Feed:
    """The last frames of one space, up to its newest event."""

    room: Room
    newest: int
    frames: deque[Frame] = field(default_factory=lambda: deque(maxlen=_KEPT_FRAMES))
    subscriptions: set[Subscription] = field(default_factory=set)
    stale: bool = True
    reading: bool = False

    def after(self, position: int) -> list[Frame] | None:
        """Return the frames after a position; None when it is before all that are kept."""
        if position >= self.newest:
            return []
        if not self.frames or self.frames[0].sequence > position + 1:
            return None
        first = position + 1 - self.frames[0].sequence
        return [self.frames[number] for number in range(first, min(first + _PAGE, len(self.frames)))]

    def add(self, frames: Sequence[Frame]) -> None:
        """Keep frames after the newest one; forget the oldest, so that a bounded number of bytes is kept."""
        if frames[0].sequence > self.newest + 1:  # some were pruned; the kept frames have no hole
            self.frames.clear()
        self.frames.extend(frames)
        self.newest = frames[-1].sequence
        kept = sum(len(one.text) for one in self.frames)
        while kept > _MOST_KEPT and len(self.frames) > 1:
            kept -= len(self.frames.popleft().text)

    def wake(self) -> None:
        for subscription in self.subscriptions:
            subscription.wake.set()


class Feeds:
    """All feeds of one server process. `start` binds them to the running loop; other methods run on it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._feeds: dict[int, _Feed] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        database.listen(self.hear)

    def start(self) -> None:
        """Listen from now on, on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """End all subscriptions, and take no new ones."""
        self._stopping = True
        for subscription in self.subscriptions():
            subscription.end(RESTART)

    def subscriptions(self) -> list[Subscription]:
        """Return all live subscriptions."""
        return [one for feed in self._feeds.values() for one in feed.subscriptions]

    def hear(self, changes: Sequence[Change]) -> None:
        """Handle changes that were committed; may be called from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._heard, changes)

    def _heard(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case Anything():
                    self._heard([EventsAdded(key) for key in self._feeds])
                case AccessChanged(actor_id):
                    self._begin(self._check([one for one in self.subscriptions() if one.caller.actor_id == actor_id]))
                case Released(actor_id):
                    for one in self.subscriptions():
                        if one.caller.actor_id == actor_id:
                            one.end(RELEASED)
                case _:
                    if (feed := self._feeds.get(change.space_key)) is not None:
                        self._heard_in(feed, change)

    def _heard_in(self, feed: _Feed, change: EventsAdded | ParticipantChanged | SentAgain) -> None:
        match change:
            case EventsAdded():
                feed.stale = True
                if not feed.reading:
                    # Before the task begins: two tasks would read the same events.
                    feed.reading = True
                    self._begin(self._read_on(feed))
            case ParticipantChanged(_, actor_id):
                self._begin(self._tell_of_participant(feed, actor_id))
            case SentAgain(_, actor_id):
                for one in feed.subscriptions:
                    if one.caller.actor_id == actor_id:
                        one.send_again = True
                        one.wake.set()

    def subscribe(self, subscription: Subscription) -> None:
        """Begin to feed a subscription."""
        if self._stopping:
            raise RESTART
        room = subscription.room
        feed = self._feeds.setdefault(room.key, _Feed(room, room.last_sequence))
        feed.subscriptions.add(subscription)
        self._heard([EventsAdded(room.key)])

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop feeding a subscription."""
        feed = self._feeds[subscription.room.key]
        feed.subscriptions.discard(subscription)
        if not feed.subscriptions:
            del self._feeds[subscription.room.key]

    async def next_frames(self, subscription: Subscription) -> list[Frame]:
        """Wait for the next frames to send. Raises `Closed`.

        While `send_again` is set, the caller first records what it has sent: what is not recorded comes again.
        """
        feed = self._feeds[subscription.room.key]
        while True:
            subscription.wake.clear()
            if subscription.ending is not None:
                raise subscription.ending
            frames = [subscription.asides.popleft() for _ in range(len(subscription.asides))]
            if subscription.send_again:
                subscription.send_again = False  # what is announced during the read sets it
                again = await asyncio.to_thread(self._again, subscription)
                more = len(again) == receipts.MOST_SENT_AGAIN
                subscription.send_again |= more
                if subscription.sent_again is not None:
                    subscription.sent_again = again[-1].again if more else None
                frames += again
            new = feed.after(subscription.position)
            frames += new if new is not None else await asyncio.to_thread(self._page, subscription)
            if frames:
                return frames
            await subscription.wake.wait()
            if subscription.send_again:
                return []  # the caller first records what was sent

    def look(self) -> None:
        """Look for events that were not announced, because the database was away or another process was killed."""
        self._heard([Anything()])

    async def check_all(self) -> None:
        """End the subscriptions whose keys were revoked by a program other than a server."""
        await self._check(self.subscriptions())

    def _begin(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_on(self, feed: _Feed) -> None:
        """Add the events that were committed to the frames, and wake the subscriptions."""
        try:
            while feed.stale:
                feed.stale = False
                frames = await asyncio.to_thread(self._frames_after, feed.room, feed.newest)
                if frames:
                    feed.add(frames)
                    # A long page may have been cut by its size.
                    feed.stale = len(frames) == _PAGE or sum(len(one.text) for one in frames) > _LONG_PAGE or feed.stale
                    feed.wake()
        except PyroError as error:
            _log.error("new events cannot be read, and are looked for again: %s", error)
        finally:
            feed.reading = False

    def _frames_after(self, room: Room, sequence: int) -> list[Frame]:
        events = self._database.read(lambda tx: reading.after(tx, room, sequence, _PAGE))
        return [Frame(event_frame(event), event.sequence) for event in events]

    def _page(self, subscription: Subscription) -> list[Frame]:
        frames = self._frames_after(subscription.room, subscription.position)
        if frames and frames[0].sequence > subscription.position + 1:  # it was too slow for a prune
            return [gap_frame(subscription.room, frames[0].sequence - 1), *frames]
        return frames

    def _again(self, subscription: Subscription) -> list[Frame]:
        room, actor_id = subscription.room, subscription.caller.actor_id
        after = subscription.sent_again
        events = self._database.read(lambda tx: receipts.to_send_again(tx, room, actor_id, pushed_after=after))
        return [Frame(event_frame(event, again=True), again=event.sequence) for event in events]

    async def _tell_of_participant(self, feed: _Feed, actor_id: str) -> None:
        try:
            shown = await asyncio.to_thread(
                self._database.read, lambda tx: participants.get(tx, feed.room, actor_id).model_dump()
            )
        except NotFound:
            return  # it was deleted since
        for subscription in feed.subscriptions:
            subscription.asides.append(Frame(json.dumps({"type": "participant_update", "data": shown})))
        feed.wake()

    async def _check(self, subscriptions: Sequence[Subscription]) -> None:
        if not subscriptions:
            return
        tokens = {one.token for one in subscriptions}
        invalid = await asyncio.to_thread(
            self._database.read, lambda tx: {one for one in tokens if not _valid(tx, one)}
        )
        for subscription in subscriptions:
            if subscription.token in invalid:
                subscription.end(REVOKED)


def _valid(tx: Transaction, token: str) -> bool:
    try:
        authenticate(tx, token)
    except PyroError:
        return False
    return True


def start_position(tx: Transaction, room: Room, caller: Caller, since: str | None, *, most: int) -> tuple[int, int]:
    """Return the event after which a subscription begins, and the last missing one before its first (0 for none).

    Without `since` it begins where the last one of this actor ended, but at most `most` events ago. So it does with a
    number after the last event: the log has been restored from a backup, so the number is one of another log. An
    unknown event is one that was pruned, where any were; otherwise raises `NotFound`.
    """
    position = None
    if since is not None:
        try:
            position = reading.sequence_of(tx, room, since)
        except NotFound:
            if not room.pruned_sequence:
                raise
            position = 0
    if position is not None and position <= room.last_sequence:
        receipts.claimed(tx, room, caller.actor_id, position)
        oldest = room.pruned_sequence
    else:
        position = receipts.cursor(tx, room, caller.actor_id).pushed_sequence
        oldest = max(room.pruned_sequence, room.last_sequence - most)
        receipts.send_skipped(tx, room, caller.actor_id, (position, oldest))
    return (oldest, oldest) if position < oldest else (position, 0)


def open_subscription(
    tx: Transaction, token: str, space_id: str, since: str | None, *, most: int
) -> tuple[Subscription, Frame | None]:
    """Return a subscription for the caller of this key, and the frame that declares a gap, if there is one.

    Raises `Unauthenticated`, `Forbidden` and `NotFound`.
    """
    caller = authenticate(tx, token)
    room = spaces.find(tx, caller, space_id)
    participants.join(tx, room, caller.actor_id)
    position, gap = start_position(tx, room, caller, since, most=most)
    subscription = Subscription(room, caller, token, position, sent_again=None if since is None else 0)
    return subscription, gap_frame(room, gap) if gap else None
