"""The subscription of an agent: it fills the mailbox, and tells the server what the agent has read.

Each process of a role has a subscription of its own, so that one running process suffices. It follows every active
space of the agent from the position in the mailbox on; a space without one from the first message that the agent has
not acknowledged. The server says which messages are addressed to the agent; for most of them the event itself shows it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import ValidationError

from moot.adapters.desk import Desk
from moot.client.errors import NotAuthenticated
from moot.client.models import ContextEvent
from moot.client.space_feed import Feed, open_feed
from moot.mailbox.mailbox import Place
from moot.mailbox.message_block import RELEVANCES, Message, Relevance
from pyro_mcp.errors import NotFound, PyroError

POLL_SECONDS = 30.0
_HEARTBEAT_SECONDS = 60.0
_ACKNOWLEDGE_SECONDS = 0.5
_SHORTEST_WAIT, _LONGEST_WAIT = 0.25, 30.0
_STABLE_SECONDS = 5.0
_log = logging.getLogger("convo.inbox")
Result = TypeVar("Result")


class Inbox:
    """The subscriptions of one desk, on an event loop in a thread of its own, which calls `on_new`."""

    def __init__(self, desk: Desk, adapter: str, on_new: Callable[[], None] = lambda: None) -> None:
        self._desk = desk
        self._adapter = adapter
        self._on_new = on_new
        self._spaces: dict[str, asyncio.Task[None]] = {}
        self._my_threads: set[str] = set()
        self._reached: dict[str, Place] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Start the thread. It ends with the process; the server then sends again what the thread had not stored."""
        self._thread.start()

    def stop(self) -> None:
        """End the subscriptions."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    def subscriptions(self) -> list[str]:
        """Return the spaces that are followed."""
        return sorted(self._spaces)

    def subscribe(self, space_id: str) -> bool:
        """Follow a space, which the agent joins; return whether that is new. Raises `PyroError`."""
        if space_id in self._spaces:
            return False
        self._desk.client.join(space_id, self._adapter)
        self._desk.mailbox.note(_left(space_id), None)
        return self._on_loop(lambda: self._follow(space_id))

    def unsubscribe(self, space_id: str) -> bool:
        """Stop following a space, also after a restart; return whether it was followed."""
        self._desk.mailbox.note(_left(space_id), "1")
        return self._on_loop(lambda: self._leave(space_id))

    def discover(self, *, also_left: bool = False) -> list[str]:
        """Follow the agent's active spaces that it has not left; return the new ones. Raises `PyroError`."""
        mailbox = self._desk.mailbox
        found = [one.space_id for one in self._desk.client.my_spaces()]
        wanted = [one for one in found if also_left or mailbox.fact(_left(one)) is None]
        for one in wanted:
            mailbox.note(_left(one), None)
        return [one for one in wanted if self._on_loop(lambda one=one: self._follow(one))]  # type: ignore[misc]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        for work in (self._discover_again(), self._acknowledge_again()):
            self._loop.create_task(work)
        self._loop.run_forever()

    def _on_loop(self, function: Callable[[], Result]) -> Result:
        async def call() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10.0)

    def _follow(self, space_id: str) -> bool:
        if space_id in self._spaces:
            return False
        self._spaces[space_id] = self._loop.create_task(self._stay_in(space_id))
        return True

    def _leave(self, space_id: str) -> bool:
        task = self._spaces.pop(space_id, None)
        if task is not None:
            task.cancel()
        return task is not None

    async def _discover_again(self) -> None:
        wait = _SHORTEST_WAIT
        while True:
            try:
                await asyncio.to_thread(self._desk.join, self._adapter)
                await asyncio.to_thread(self.discover)
                wait = POLL_SECONDS
            except Exception as error:  # noqa: BLE001 - without this task, no space would be found any more
                _log.info("cannot look for spaces, and try again: %s", error)
                wait = min(2 * wait, _LONGEST_WAIT)
            await asyncio.sleep(wait)

    async def _stay_in(self, space_id: str) -> None:
        wait = _SHORTEST_WAIT
        while True:
            began = time.monotonic()
            try:
                await self._listen(space_id)
            except NotAuthenticated as error:
                _log.error("%s: %s", space_id, error)
                wait = _LONGEST_WAIT
            except Exception as error:  # noqa: BLE001 - the subscription must go on after any failure
                _log.info("%s: %s", space_id, error)
            if time.monotonic() - began > _STABLE_SECONDS:
                wait = _SHORTEST_WAIT
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - so that agents do not come back at once
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _listen(self, space_id: str) -> None:
        """Follow a space over one connection. Raises `PyroError` at its end."""
        self._store_reached(space_id)
        since = await asyncio.to_thread(self._start_position, space_id)
        async with open_feed(self._desk.client.address, space_id, since) as feed:
            beating = asyncio.create_task(_beat(feed))
            try:
                async for frame in feed:
                    await self._take(space_id, frame)
            finally:
                beating.cancel()

    def _start_position(self, space_id: str) -> int:
        """Return the event after which the agent may lack messages."""
        known = self._desk.mailbox.place(space_id)
        if known is None or not self._is_in_log(space_id, known):
            known = self._start_over(space_id)
        return known.sequence

    def _is_in_log(self, space_id: str, place: Place) -> bool:
        """Return whether the log has this event, or had it before it was pruned; not after a backup was restored."""
        at = self._event_at(space_id, place.sequence)
        if at is None:
            return place.sequence <= self._desk.client.cursor(space_id).last_sequence
        return at.sequence > place.sequence or place.event_id in (None, at.event_id)

    def _event_at(self, space_id: str, sequence: int) -> ContextEvent | None:
        """Return the event with this number, else the first one after it; None when there is none."""
        found = self._desk.client.events(space_id, since=str(max(sequence - 1, 0)), limit=1)
        return found[0] if found else None

    def _start_over(self, space_id: str) -> Place:
        """Return the place before the first message that the agent has not acknowledged.

        The messages after it that the agent has acknowledged do not come again.
        """
        mailbox, client, me = self._desk.mailbox, self._desk.client, self._desk.me.actor_id
        unread = client.unread(space_id, me)
        first = min([client.cursor(space_id).pushed_sequence, *(one.sequence - 1 for one in unread)])
        after = first
        while read := client.deliveries_to(space_id, me, state="acknowledged", after_sequence=after):
            mailbox.seen([one.event_id for one in read])
            after = read[-1].sequence
        at = self._event_at(space_id, first)
        place = Place(first, at.event_id if at is not None and at.sequence == first else None)
        mailbox.start_over(space_id, place)
        return place

    async def _take(self, space_id: str, frame: dict[str, Any]) -> None:
        if frame.get("type") == "gap":
            self._reached[space_id] = Place(int(frame.get("up_to_sequence", 0)))
        if frame.get("type") != "context_event":
            return
        try:
            event = ContextEvent.model_validate(frame.get("data"))
        except ValidationError as error:
            _log.error("%s: the server sent an invalid event: %s", space_id, error)
            return
        relevance = await self._relevance(space_id, event)
        if relevance is not None:
            if self._desk.mailbox.fact(_left(space_id)) is not None:  # another process of the role was told to leave
                self._leave(space_id)
                return
            if self._desk.mailbox.add(_message(space_id, event, relevance)):
                self._on_new()
        if not frame.get("again"):
            self._reached[space_id] = Place(event.sequence, event.event_id)

    async def _relevance(self, space_id: str, event: ContextEvent) -> Relevance | None:
        """Return why an event is for the agent; None when it is not. Raises `PyroError`."""
        me, metadata = self._desk.me, event.metadata or {}
        if event.speaker_id == me.actor_id:
            self._my_threads |= {event.thread_id} if event.thread_id else set()
            return None
        mentions = metadata.get("mentions")
        if isinstance(mentions, list) and me.actor_id in mentions:
            return "mention"
        if event.thread_id in self._my_threads:
            known: Relevance | None = "thread_reply"
        else:
            known = None
        if "@" in event.text or (event.thread_id and known is None):  # its name may have changed: the server knows
            known = await asyncio.to_thread(self._ask, space_id, event) or known
        if known is None and (event.text.startswith("[DECISION") or metadata.get("message_type") == "decision"):
            known = await asyncio.to_thread(self._ask, space_id, event)
        return known or ("firehose" if self._desk.role.firehose else None)

    def _ask(self, space_id: str, event: ContextEvent) -> Relevance | None:
        """Return why the server delivers an event to the agent; None when it does not."""
        try:
            deliveries = self._desk.client.deliveries_of(space_id, event.event_id)
        except NotFound:
            return None  # it was pruned meanwhile
        mine = next((one for one in deliveries if one.recipient_id == self._desk.me.actor_id), None)
        if mine is None:
            return None
        if mine.relevance == "thread_reply" and event.thread_id:
            self._my_threads.add(event.thread_id)
        return next((one for one in RELEVANCES if one == mine.relevance), "mention")

    async def _acknowledge_again(self) -> None:
        wait = _ACKNOWLEDGE_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                for space_id in list(self._reached):
                    self._store_reached(space_id)
                await asyncio.to_thread(self.acknowledge)
                wait = _ACKNOWLEDGE_SECONDS
            except Exception as error:  # noqa: BLE001 - without this task, every message would come again
                _log.info("cannot acknowledge yet: %s", error)
                wait = min(2 * wait, _LONGEST_WAIT)

    def _store_reached(self, space_id: str) -> None:
        place = self._reached.get(space_id)
        if place is not None:
            self._desk.mailbox.reached(space_id, place)
            del self._reached[space_id]

    def acknowledge(self) -> None:
        """Tell the server what the agent has read. Raises `PyroError`."""
        mailbox, client = self._desk.mailbox, self._desk.client
        for space_id, event_ids in mailbox.to_acknowledge().items():
            try:
                client.acknowledge(space_id, event_ids)
            except NotFound:
                _one_by_one(lambda one, space_id=space_id: client.acknowledge(space_id, [one]), event_ids)  # type: ignore[misc]
            mailbox.acknowledged(event_ids)


def _one_by_one(acknowledge: Callable[[str], None], event_ids: Sequence[str]) -> None:
    """Acknowledge messages of which some were pruned."""
    for one in event_ids:
        with suppress(NotFound):
            acknowledge(one)


async def _beat(feed: Feed) -> None:
    with suppress(PyroError):  # the reader gets it too
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            await feed.heartbeat()


def _left(space_id: str) -> str:
    return f"left:{space_id}"


def _message(space_id: str, event: ContextEvent, relevance: Relevance) -> Message:
    kind = (event.metadata or {}).get("message_type")
    return Message(
        event_id=event.event_id,
        space_id=space_id,
        sequence=event.sequence,
        relevance=relevance,
        speaker_id=event.speaker_id,
        speaker_name=event.speaker_name,
        speaker_type=event.speaker_type,
        text=event.text,
        timestamp=event.timestamp,
        thread_id=event.thread_id,
        message_type=str(kind) if kind is not None else None,
    )
