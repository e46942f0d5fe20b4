"""Hypothesis plays a team on a real server: it sends, disconnects, acknowledges and kills in any order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import WebSocketException

from tests.moot.server.postgresql import new_database
from tests.moot.server.running import Client, Live, Server, delivery_states, running
from tests.waiting import until

_EXAMPLES = 4
_MOST_KILLS = 2
_NUMBERS = count(1)

_receivers = st.sampled_from(["Spec", "QA"])
_mentions = st.lists(_receivers, unique=True)
_steps = st.one_of(
    st.tuples(st.just("send"), _mentions, st.integers(1, 10)),
    st.tuples(st.just("send_again"), st.integers(0, 100)),
    st.tuples(st.just("kill_while_sending"), _mentions, st.integers(1, 5)),
    st.tuples(st.just("connect"), _receivers),
    st.tuples(st.just("read"), _receivers, st.integers(1, 20)),
    st.tuples(st.just("read"), _receivers, st.integers(1, 20)),
    st.tuples(st.just("disconnect"), _receivers, st.booleans()),
    st.tuples(st.just("acknowledge"), _receivers),
)


class _Team:
    """A person who sends, and two agents who only receive: what each has got must be the log, in its order."""

    def __init__(self, server: Server, agents: dict[str, Client], ids: dict[str, str]) -> None:
        self.server = server
        self.agents = agents
        self.ids = ids
        self.space = str(server.person.post("/api/spaces", {})["space_id"])
        for name in ("Spec", "QA"):
            agents[name].post(f"/api/spaces/{self.space}/join", {})
        self.log: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.got: dict[str, list[dict[str, Any]]] = {"Spec": [], "QA": []}
        self.acknowledged = {"Spec": 0, "QA": 0}
        self.live: dict[str, Live] = {}
        self.stacks: dict[str, ExitStack] = {}
        self.kills = 0

    def post(self, key: str, mentions: list[str]) -> dict[str, Any]:
        """Send a message until the server answers."""
        body = {"text": key, "metadata": {"mentions": [self.ids[name] for name in mentions]}}

        def attempt() -> Any:
            try:
                path = f"/api/spaces/{self.space}/events"
                return self.server.person.call("POST", path, body, headers={"Idempotency-Key": key}).body
            except (OSError, HTTPException, ValueError):
                return None

        found = until(f"{key} is accepted", attempt, deadline_seconds=60)
        assert isinstance(found, dict) and "event_id" in found, found
        return found

    def sent(self, key: str, event: dict[str, Any]) -> None:
        self.log.append(event)
        self.keys.append(key)
        assert (event["sequence"], event["text"]) == (len(self.log), key)

    def send(self, mentions: list[str], messages: int) -> None:
        for _ in range(messages):
            key = f"message-{next(_NUMBERS)}"
            self.sent(key, self.post(key, mentions))

    def send_again(self, number: int) -> None:
        if self.log:
            number %= len(self.log)
            assert self.post(self.keys[number], []) == self.log[number]

    def kill_while_sending(self, mentions: list[str], messages: int) -> None:
        if self.kills == _MOST_KILLS:
            return
        self.kills += 1
        keys = [f"message-{next(_NUMBERS)}" for _ in range(messages)]
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(lambda: [self.post(key, mentions) for key in keys])
            self.server.kill()
            self.server.start()
            for key, event in zip(keys, sending.result(), strict=True):
                self.sent(key, event)
        for name in list(self.live):
            self.hang_up(name)

    def connect(self, name: str) -> None:
        if name not in self.live:
            stack = self.stacks[name] = ExitStack()
            self.live[name] = stack.enter_context(self.agents[name].live(self.space, len(self.got[name])))

    def read(self, name: str, most: int) -> None:
        self.connect(name)
        for _ in range(min(most, len(self.log) - len(self.got[name]))):
            self.got[name].append(self.live[name].event())
            assert self.got[name][-1] == self.log[len(self.got[name]) - 1]

    def disconnect(self, name: str, closing_handshake: bool) -> None:
        if name in self.live:
            if not closing_handshake:
                self.live[name].socket.socket.close()
            self.hang_up(name)

    def acknowledge(self, name: str) -> None:
        number = self.acknowledged[name] = len(self.got[name])
        reached = self.agents[name].post(f"/api/spaces/{self.space}/ack", {"sequence": number})
        assert reached["acknowledged_sequence"] == number

    def hang_up(self, name: str) -> None:
        del self.live[name]
        with suppress(OSError, WebSocketException):  # the connection has been broken
            self.stacks.pop(name).close()

    def events_that_wait(self, name: str) -> list[dict[str, Any]]:
        """Return the frames with events that have come in and were not read."""
        found = []
        with suppress(TimeoutError):
            while True:
                frame = json.loads(self.live[name].socket.recv(timeout=0))
                found += [frame] if frame["type"] == "context_event" else []
        return found

    def check(self) -> None:
        """Let both agents read to the end; then nothing may be lost, doubled or wrongly acknowledged."""
        for name in ("Spec", "QA"):
            self.connect(name)
            self.read(name, len(self.log))
            assert self.got[name] == self.log
            assert self.events_that_wait(name) == []
            self.hang_up(name)
        for event in self.log:
            states = delivery_states(self.server.person, self.space, event["event_id"])
            mentioned = event["metadata"]["mentions"]
            assert set(states) == set(mentioned)
            for name in ("Spec", "QA"):
                is_done = event["sequence"] <= self.acknowledged[name]
                if self.ids[name] in mentioned:
                    assert (states[self.ids[name]] == "acknowledged") == is_done, (event, states)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_happens_each_agent_gets_the_log(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    options: tuple[str, ...] = ()
    if kind == "postgresql":
        options = ("--database-url", new_database(request.getfixturevalue("postgresql")))
    with running(tmp_path, *options) as server:
        agents = server.agents()
        ids = {name: str(client.get("/api/actors/me")["actor_id"]) for name, client in agents.items()}

        @settings(
            max_examples=_EXAMPLES,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # to shrink takes a server's start for each attempt
        )
        @given(st.lists(_steps, min_size=20, max_size=40))
        def play(steps: list[tuple[Any, ...]]) -> None:
            team = _Team(server, agents, ids)
            for name, *arguments in steps:
                getattr(team, name)(*arguments)
            team.check()

        play()
