"""Messages under a storm: senders that try again, receivers that disconnect at random, and a server that is killed.

`weather(server, messages=…)` returns what was lost, doubled or out of order; all of it must be nothing.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from websockets.exceptions import WebSocketException

from tests.moot.server.running import Client, Server

_SECONDS = 600.0
_SENDERS = 4
_PAUSE_SECONDS = 0.02


@dataclass
class Report:
    """What has become of the messages."""

    messages: int
    receivers: int
    kills: int = 0
    disconnects: int = 0
    attempts: int = 0
    unanswered: int = 0
    """The attempts of which the sender does not know whether the server has accepted the message."""
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    not_acknowledged: int = 0

    @property
    def faults(self) -> int:
        return self.lost + self.doubled + self.out_of_order + self.not_acknowledged


@dataclass
class _Receiver:
    """An agent that reads a space from its cursor on, and acknowledges what it has read."""

    client: Client
    actor_id: str
    chance: random.Random
    position: int
    got: list[dict[str, Any]] = field(default_factory=list)
    disconnects: int = 0


@dataclass
class _Storm:
    server: Server
    space: str
    end: float
    attempts: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    last: int | None = None
    """The number of the last message, once all are sent."""

    def send(self, client: Client, sender: int, recipients: list[list[str]]) -> None:
        """Send this sender's messages one after the other, each until the server has accepted it."""
        for number, mentions in enumerate(recipients):
            name = f"{sender}-{number}"
            body = {"text": name, "metadata": {"mentions": mentions}}
            while not self._accepted(client, name, body):
                assert time.monotonic() < self.end, f"{name} was not accepted"
                time.sleep(_PAUSE_SECONDS)

    def _accepted(self, client: Client, name: str, body: object) -> bool:
        self.attempts[name] += 1
        try:
            path = f"/api/spaces/{self.space}/events"
            return client.call("POST", path, body, headers={"Idempotency-Key": name}).status == 200
        except ConnectionRefusedError:
            return False
        except (OSError, HTTPException, ValueError):
            self.unanswered[name] += 1
            return False

    def receive(self, one: _Receiver) -> None:
        """Read until the last message, over as many connections as it takes."""
        while self.last is None or one.position < self.last:
            assert time.monotonic() < self.end, f"{one.actor_id} is at {one.position} of {self.last}"
            try:
                self._read(one)
            except (OSError, WebSocketException, HTTPException):
                time.sleep(_PAUSE_SECONDS)
        while not self._acknowledged(one):
            assert time.monotonic() < self.end, f"{one.actor_id} cannot acknowledge"
            time.sleep(_PAUSE_SECONDS)

    def _read(self, one: _Receiver) -> None:
        with one.client.live(self.space, one.position) as live:
            left = one.chance.randrange(1, 120)
            while left and (self.last is None or one.position < self.last):
                try:
                    frame = json.loads(live.socket.recv(timeout=0.5))
                except TimeoutError:
                    continue
                if frame["type"] == "context_event":
                    one.got.append(frame["data"])
                    one.position = frame["data"]["sequence"]
                    left -= 1
                    if one.chance.random() < 0.05:
                        live.send(type="ack", sequence=one.position)
            one.disconnects += 1
            if one.chance.random() < 0.5:
                live.socket.socket.close()  # without a word, as a broken network does

    def _acknowledged(self, one: _Receiver) -> bool:
        try:
            return one.client.call("POST", f"/api/spaces/{self.space}/ack", {"sequence": self.last}).status == 200
        except (OSError, HTTPException, ValueError):
            return False


def weather(server: Server, *, messages: int, kills: int, seed: int) -> Report:
    """Send messages to the agents of a server that is killed at random meanwhile; return what became of them."""
    chance = random.Random(seed)  # noqa: S311 - it repeats a storm
    agents, space = server.agents(), server.space()
    ids = {name: str(client.get("/api/actors/me")["actor_id"]) for name, client in agents.items()}
    start = server.person.newest(space)
    storm = _Storm(server, space, time.monotonic() + _SECONDS)
    receivers = []
    for name, client in agents.items():
        own = random.Random(chance.random())  # noqa: S311
        receivers.append(_Receiver(client, ids[name], own, start))
    per_sender = messages // _SENDERS
    plan = [[chance.sample(list(ids.values()), 2) for _ in range(per_sender)] for _ in range(_SENDERS)]
    report = Report(per_sender * _SENDERS, len(receivers))
    moments = sorted(chance.sample(range(1, report.messages), kills))
    with ThreadPoolExecutor(_SENDERS + len(receivers)) as pool:
        sending = [pool.submit(storm.send, server.person, number, plan[number]) for number in range(_SENDERS)]
        receiving = [pool.submit(storm.receive, one) for one in receivers]
        for number in moments:
            _wait_for(storm, sending, number)
            server.kill()
            server.start()
        for future in sending:
            future.result()
        storm.last = server.person.newest(space)
        for future in receiving:
            future.result()
    report.kills = kills
    report.attempts = sum(storm.attempts.values())
    report.unanswered = sum(storm.unanswered.values())
    report.disconnects = sum(one.disconnects for one in receivers)
    addressed = {f"{sender}-{n}": plan[sender][n] for sender in range(_SENDERS) for n in range(per_sender)}
    _judge(report, storm, receivers, start, addressed)
    return report


def _wait_for(storm: _Storm, sending: list[Future[None]], number: int) -> None:
    """Wait until so many messages were tried."""
    while len(storm.attempts) < number and not all(one.done() for one in sending):
        assert time.monotonic() < storm.end
        time.sleep(_PAUSE_SECONDS)


def _judge(
    report: Report, storm: _Storm, receivers: list[_Receiver], start: int, addressed: dict[str, list[str]]
) -> None:
    assert storm.last is not None
    report.doubled += max(0, storm.last - start - len(addressed))
    for one in receivers:
        texts = [event["text"] for event in one.got]
        report.lost += len(addressed.keys() - set(texts))
        report.doubled += len(texts) - len(set(texts))
        report.out_of_order += sum(
            event["sequence"] != number for number, event in enumerate(one.got, start + 1)
        ) + sum(_backwards(texts))
        mine = {event["sequence"] for event in one.got if one.actor_id in addressed.get(event["text"], ())}
        report.not_acknowledged += len(mine ^ _acknowledged(storm, one.actor_id, start))


def _acknowledged(storm: _Storm, actor_id: str, start: int) -> set[int]:
    """Return the numbers of the messages to a recipient that the server has as acknowledged."""
    found: set[int] = set()
    after = start
    while True:
        query = f"recipient_id={actor_id}&after_sequence={after}&limit=1000"
        page = storm.server.person.get(f"/api/spaces/{storm.space}/deliveries?{query}")
        if not page:
            return found
        found |= {one["sequence"] for one in page if one["state"] == "acknowledged"}
        after = page[-1]["sequence"]


def _backwards(texts: list[str]) -> list[bool]:
    """Return for each message whether an earlier one of its sender comes after it."""
    newest: dict[str, int] = {}
    found = []
    for sender, _, number in (text.partition("-") for text in texts):
        found.append(int(number) < newest.get(sender, -1))
        newest[sender] = int(number)
    return found
