"""The interval of an agent: a prompt of its own that comes again and again, by the same roads as messages."""

from __future__ import annotations

import json
import time
import uuid

from moot.adapters.desk import Desk
from moot.mailbox.message_block import Message

_FACT = "interval"


class Intervals:
    """At most one interval of one agent, which ends with its session."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def set(self, seconds: int, prompt: str) -> None:
        """Set the interval, in place of another one."""
        next_at = time.time() + seconds
        value = {"seconds": seconds, "prompt": prompt, "next_at": next_at, "session": self._desk.mailbox.session}
        self._desk.mailbox.note(_FACT, json.dumps(value))

    def clear(self) -> bool:
        """Remove the interval; return whether there was one."""
        found = self._desk.mailbox.fact(_FACT) is not None
        self._desk.mailbox.note(_FACT, None)
        return found

    def tick(self, now: float) -> None:
        """Add the prompt to the mailbox when its time has come, unless the one before has not been read."""
        stored = self._desk.mailbox.fact(_FACT)
        if stored is None:
            return
        value = json.loads(stored)
        if value["session"] != self._desk.mailbox.session:
            self.clear()
            return
        if now < value["next_at"]:
            return
        last = value.get("last")
        if last is None or self._desk.mailbox.is_seen(last):
            value["last"] = f"int_{uuid.uuid4().hex}"
            self._desk.mailbox.add(self._message(value["last"], value["prompt"]))
        value["next_at"] = now + value["seconds"]
        self._desk.mailbox.note(_FACT, json.dumps(value))

    def _message(self, event_id: str, prompt: str) -> Message:
        me = self._desk.me
        return Message(event_id, "", 0, "agent_interval", me.actor_id, me.display_name, "agent", prompt)
