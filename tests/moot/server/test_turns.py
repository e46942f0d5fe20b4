"""The calls that acknowledge what was pushed to their caller before: all writes into a space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.moot.server.running import Answer, Client, Live, Server, delivery_states, running, until_state

SPACE = "/api/spaces/{space_id}"
JOINING = ("POST", f"{SPACE}/join"), ("POST", f"{SPACE}/participants/{{actor_id}}/heartbeat")
"""What the published channel adapter does without a turn."""
OWN_ACKNOWLEDGEMENT = ("POST", f"{SPACE}/ack")


class Desk:
    """An agent with a live socket, whose mentions are acknowledged or not, and what it writes about."""

    def __init__(self, server: Server) -> None:
        agents = server.agents()
        self.space, self.sender, self.agent = server.space(), agents["Spec"], agents["QA"]
        self.agent_id = str(self.agent.get("/api/actors/me")["actor_id"])
        self.agent.post(f"/api/spaces/{self.space}/join", {})
        self.document: dict[str, Any] = Client(server.port).get("/openapi.json")

    def mention(self, live: Live) -> dict[str, Any]:
        """Return a message that was pushed to the agent."""
        event: dict[str, Any] = self.sender.post(
            f"/api/spaces/{self.space}/events", {"text": "look", "metadata": {"mentions": [self.agent_id]}}
        )
        until_state(self.sender, self.space, event, self.agent_id, "pushed")
        return event

    def write(self, method: str, route: str, body: object, **parts: object) -> Answer:
        path = route.format(space_id=self.space, actor_id=self.agent_id, **parts)
        return self.agent.call(method, path, body)

    def make(self, kind: str, body: object) -> dict[str, Any]:
        """Return an object that the sender has made in the space."""
        made: dict[str, Any] = self.sender.post(f"/api/spaces/{self.space}/{kind}", body)
        return made


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with running(tmp_path_factory.mktemp("turns")) as server:
        yield Desk(server)


@pytest.fixture(scope="module")
def live(desk: Desk) -> Iterator[Live]:
    with desk.agent.live(desk.space, desk.agent.newest(desk.space)) as found:
        yield found


TIMER = {"tool_name": "get_mentions", "timer_type": "delay", "duration_secs": 3600}
LINK = {"link_type": "tracks", "target_uri": "https://example.org"}


def writes(desk: Desk) -> dict[tuple[str, str], tuple[object, dict[str, object]]]:
    """Return a call of each write route of a space: its body, and the parts of its path."""
    event = desk.make("events", {"text": "a question"})
    decision, question = desk.make("decisions", {"text": "a"}), desk.make("questions", {"text": "b"})
    timer = desk.agent.post(f"/api/spaces/{desk.space}/timers", TIMER)
    found: dict[str, tuple[object, dict[str, object]]] = {
        "POST /events": ({"text": "x"}, {}),
        "POST /response": ({"text": "x"}, {}),
        "POST /speech": ({"text": "x"}, {}),
        "POST /threads": ({"parent_event_id": event["event_id"]}, {}),
        "POST /decisions": ({"text": "x"}, {}),
        "PUT /decisions/{decision_id}/resolve": ({"resolution": "yes"}, {"decision_id": decision["decision_id"]}),
        "POST /questions": ({"text": "x"}, {}),
        "PATCH /questions/{question_id}": ({"status": "deferred"}, {"question_id": question["question_id"]}),
        "POST /links": (LINK, {}),
        "DELETE /links/{link_id}": (None, {"link_id": desk.make("links", LINK)["link_id"]}),
        "POST /timers": (TIMER, {}),
        "DELETE /timers/{timer_id}": (None, {"timer_id": timer["timer_id"]}),
        "POST /archives": ({"session_id": "s1", "summary": "x"}, {}),
        "PATCH /participants/{actor_id}/status": ({"status": "ready"}, {}),
        "PATCH ": ({"description": "x"}, {}),
        "POST /archive": (None, {}),
    }
    return {(method, SPACE + path): call for line, call in found.items() for method, _, path in [line.partition(" ")]}


def test_every_write_into_a_space_acknowledges_what_was_pushed_before(desk: Desk, live: Live) -> None:
    calls = writes(desk)
    routes = {
        (method.upper(), path)
        for path, methods in desk.document["paths"].items()
        for method in methods
        if path.startswith(SPACE) and method != "get"
    }
    again = ("POST", f"{SPACE}/deliveries/{{recipient_id}}/{{sequence}}/send-again")
    assert routes == {*calls, *JOINING, OWN_ACKNOWLEDGEMENT, again}

    for (method, route), (body, parts) in calls.items():
        event = desk.mention(live)
        answer = desk.write(method, route, body, **parts)

        assert answer.status in (200, 201), (method, route, answer)
        state = delivery_states(desk.sender, desk.space, event["event_id"])[desk.agent_id]
        assert state == "acknowledged", (method, route)
    assert desk.write("PATCH", SPACE, {"status": "active"}).status == 200


@pytest.mark.parametrize(("method", "route"), JOINING)
def test_what_a_client_does_without_a_turn_acknowledges_nothing(
    desk: Desk, live: Live, method: str, route: str
) -> None:
    event = desk.mention(live)

    assert desk.write(method, route, {}).status == 200
    assert delivery_states(desk.sender, desk.space, event["event_id"])[desk.agent_id] == "pushed"


def test_calls_of_a_client_that_acknowledges_itself_acknowledge_nothing(desk: Desk, live: Live) -> None:
    event = desk.mention(live)
    explicit = {"X-Moot-Acknowledge": "explicit"}
    space = f"/api/spaces/{desk.space}"

    assert desk.agent.call("POST", f"{space}/events", {"text": "x"}, headers=explicit).status == 200
    for path in (f"events/{event['event_id']}", f"mentions/{desk.agent_id}"):
        assert desk.agent.call("GET", f"{space}/{path}", headers=explicit).status == 200
    assert delivery_states(desk.sender, desk.space, event["event_id"])[desk.agent_id] == "pushed"
    assert desk.agent.call("POST", f"{space}/ack", {"event_ids": [event["event_id"]]}, headers=explicit).status == 200
    assert delivery_states(desk.sender, desk.space, event["event_id"])[desk.agent_id] == "acknowledged"
