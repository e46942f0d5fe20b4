"""A real server process: its first start, its surfaces, its end."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from websockets.exceptions import ConnectionClosed, InvalidStatus

from moot.server.database import tables
from tests.moot.server.running import Client, Server, id_of, moot, running, until_state
from tests.waiting import until


def test_the_first_start_makes_a_person_a_space_and_keyless_agents(server: Server) -> None:
    me = server.person.get("/api/actors/me")
    assert me["actor_type"] == "human" and me["default_space_id"]
    assert server.person.get(f"/api/spaces/{me['default_space_id']}")["name"] == "Home"
    assert [one["display_name"] for one in server.person.get("/api/actors/me/agents")] == [
        "Product",
        "Spec",
        "Implementation",
        "QA",
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/actors", {"display_name": "x", "agent_profile": "\ud800"}),
        ("/api/actors", {"display_name": "x", "agent_profile": "\0"}),
        ("/api/personal-access-tokens", {"name": "\ud800"}),
    ],
    ids=str,
)
def test_a_text_that_cannot_be_stored_is_refused(server: Server, path: str, body: dict[str, str]) -> None:
    assert server.person.call("POST", path, body).status == 422


def test_a_method_that_a_path_does_not_have_is_told_the_others(server: Server) -> None:
    answer = server.person.call("PUT", f"/api/spaces/{server.space()}")

    assert answer.status == 405 and answer.headers["allow"] == "GET, PATCH"


@pytest.mark.parametrize("path", ["/api/actors/me", "/api/spaces", "/api/search?q=x"])
def test_a_call_without_a_valid_key_is_refused(server: Server, path: str) -> None:
    for key in ("", "mootup_pat_x", "convo_x", "é"):
        answer = Client(server.port).call(
            "GET", path, headers={"Authorization": f"Bearer {key}".encode().decode("latin-1")}
        )
        assert answer.status == 401 and "key" in answer.body["detail"]


def test_a_key_is_not_stored(server: Server, agents: dict[str, Client]) -> None:
    with closing(server.opened()) as database:
        rows = database.read(lambda tx: repr([tx.rows(select(table)) for table in tables.metadata.sorted_tables]))
    files = b"".join(path.read_bytes() for path in server.data.glob("*"))
    keys = [one.key for one in (server.person, *agents.values())]

    assert "Product" in rows and [key for key in keys if key in rows or key.encode() in files] == []
    assert server.token not in server.log()


@pytest.mark.parametrize("path", ["events", "response"])
@pytest.mark.parametrize("name", ["speaker_id", "agent_id", "participant_id"])
def test_both_spellings_of_the_sender_are_accepted_and_only_the_caller(
    agents: dict[str, Client], space: str, path: str, name: str
) -> None:
    if (path, name) in {("events", "agent_id"), ("response", "speaker_id")}:
        return
    spec, other = agents["Spec"], id_of(agents["QA"])

    event = spec.post(f"/api/spaces/{space}/{path}", {name: id_of(spec), "text": "hello"})
    assert event["speaker_id"] == id_of(spec)
    forged = spec.call("POST", f"/api/spaces/{space}/{path}", {name: other, "text": "hello"})
    assert forged.status == 400 and name in forged.body["detail"]


def test_a_message_reaches_a_socket_and_is_acknowledged_over_it(agents: dict[str, Client], space: str) -> None:
    spec, qa = agents["Spec"], agents["QA"]
    mention = {"text": "please look", "metadata": {"mentions": [id_of(qa)]}}
    with qa.live(space, qa.newest(space)) as live:
        event = spec.post(f"/api/spaces/{space}/events", mention)

        assert live.event() == event
        until_state(spec, space, event, id_of(qa), "pushed")
        live.send(type="ack", sequence=event["sequence"])
        assert live.frame("acknowledged")["sequence"] == event["sequence"]
        until_state(spec, space, event, id_of(qa), "acknowledged")


def test_a_subscriber_gets_once_and_in_order_what_it_missed(agents: dict[str, Client], space: str) -> None:
    spec, qa = agents["Spec"], agents["QA"]
    with qa.live(space, qa.newest(space)) as live:
        first = spec.post(f"/api/spaces/{space}/events", {"text": "first"})
        assert live.event() == first
    missed = [spec.post(f"/api/spaces/{space}/events", {"text": f"missed {number}"}) for number in range(250)]

    with qa.live(space, first["sequence"]) as live:
        later = spec.post(f"/api/spaces/{space}/events", {"text": "later"})
        assert [live.event() for _ in range(251)] == [*missed, later]
    with qa.live(space, missed[-1]["event_id"]) as live:
        assert live.event() == later
    with qa.live(space) as live:
        last = spec.post(f"/api/spaces/{space}/events", {"text": "last"})
        assert live.event() == last


def test_a_message_before_the_position_comes_over_each_connection_until_it_is_acknowledged(
    server: Server, agents: dict[str, Client]
) -> None:
    space, late = str(server.person.post("/api/spaces", {})["space_id"]), agents["QA"]
    body = {"text": "read this", "metadata": {"mentions": [id_of(late)]}}
    sent = [server.person.post(f"/api/spaces/{space}/events", body) for _ in range(20)]
    late.post(f"/api/spaces/{space}/join", {})
    for _ in range(2):
        with late.live(space, 20) as live:
            frames = [live.frame() for _ in sent]
            assert [one["data"] for one in frames] == sent and all(one["again"] for one in frames)
            until_state(server.person, space, sent[-1], id_of(late), "pushed")
    late.post(f"/api/spaces/{space}/ack", {"event_ids": [one["event_id"] for one in sent[:18]]})
    with late.live(space, 20) as live:
        assert [live.frame()["data"] for _ in range(2)] == sent[18:]
        new = server.person.post(f"/api/spaces/{space}/events", {"text": "new"})
        assert live.event() == new
    with late.live(space) as live:
        newer = server.person.post(f"/api/spaces/{space}/events", {"text": "newer"})
        assert live.event() == newer, "a subscriber without a position gets each message once"


def test_a_position_of_a_log_that_a_backup_has_replaced_is_none(server: Server, agents: dict[str, Client]) -> None:
    space, qa = str(server.person.post("/api/spaces", {})["space_id"]), agents["QA"]
    qa.post(f"/api/spaces/{space}/join", {})
    event = server.person.post(f"/api/spaces/{space}/events", {"text": "after the backup"})
    with qa.live(space, event["sequence"] + 5) as live:
        assert live.event() == event


def test_a_status_reaches_a_socket(agents: dict[str, Client], space: str) -> None:
    spec, qa = agents["Spec"], agents["QA"]
    with qa.live(space) as live:
        spec.call("PATCH", f"/api/spaces/{space}/participants/{id_of(spec)}/status", {"status": "ready"})

        assert live.frame("participant_update")["data"]["status"] == "ready"


def test_a_stream_of_server_sent_events_resumes(agents: dict[str, Client], space: str) -> None:
    spec, qa = agents["Spec"], agents["QA"]
    first, second = (spec.post(f"/api/spaces/{space}/events", {"text": text}) for text in ("one", "two"))
    connection = http.client.HTTPConnection("127.0.0.1", qa.port, timeout=30)
    headers = {"Authorization": f"Bearer {qa.key}", "Last-Event-ID": str(first["sequence"])}
    connection.request("GET", f"/api/spaces/{space}/events/stream", headers=headers)
    response = connection.getresponse()
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = iter(response.readline, b"")
    found = next(line for line in lines if line.startswith(b"data: "))
    connection.close()

    assert json.loads(found[6:])["data"] == second


def test_rotating_a_key_ends_the_old_one_and_its_socket_at_once(server: Server, space: str) -> None:
    person = server.person
    agent = person.post("/api/actors", {"display_name": "Short"})
    client, path = Client(server.port, agent["api_key"]), f"/api/actors/{agent['actor_id']}/rotate-key"
    client.post(f"/api/spaces/{space}/join", {})
    with client.live(space) as live:
        refused = person.call("POST", path)
        assert refused.status == 409
        assert {name: refused.body[name] for name in ("error", "agent_id")} == {
            "error": "agent_connected",
            "agent_id": agent["actor_id"],
        }
        assert person.get(f"/api/actors/{agent['actor_id']}")["is_connected"]

        new = person.post(path, **{"X-Force-Rotate": "true"})

        assert client.call("GET", "/api/actors/me").status == 401
        with pytest.raises(ConnectionClosed) as closed:
            live.event()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401
    assert Client(server.port, new["api_key"]).get("/api/actors/me")["api_key_prefix"] == new["api_key"][:8]


def test_releasing_an_agent_ends_its_connections(server: Server, space: str) -> None:
    agent = server.person.post("/api/actors", {"display_name": "Released"})
    client, path = Client(server.port, agent["api_key"]), f"/api/actors/{agent['actor_id']}"
    client.post(f"/api/spaces/{space}/join", {})
    with client.live(space) as live:
        assert server.person.post(f"{path}/release") == {"status": "released"}

        with pytest.raises(ConnectionClosed) as closed:
            live.event()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4403
    assert server.person.post(f"{path}/release") == {"status": "already_released"}
    assert server.person.post(f"{path}/rotate-key")["api_key"] != client.key


def test_a_token_that_the_command_line_revokes_ends_its_socket(server: Server, space: str) -> None:
    made = json.loads(moot("--json", "server", "token", "create", "--name", "laptop", *server.place).stdout)
    with Client(server.port, made["token"]).live(space, server.person.newest(space)) as live:
        assert moot("server", "token", "revoke", made["token_id"], *server.place).returncode == 0

        with pytest.raises(ConnectionClosed):
            live.event()
    assert Client(server.port, made["token"]).call("GET", "/api/actors/me").status == 401


def test_another_tenant_sees_nothing(server: Server, agents: dict[str, Client], space: str) -> None:
    made = json.loads(moot("--json", "server", "user", "add", "Eve", *server.place).stdout)
    eve = Client(server.port, made["token"])
    event = agents["Spec"].post(f"/api/spaces/{space}/events", {"text": "secret plan"})
    spec = id_of(agents["Spec"])

    paths = [
        "",
        "/status",
        "/events",
        f"/events/{event['event_id']}",
        "/participants",
        f"/mentions/{spec}",
        "/deliveries",
    ]
    assert [eve.call("GET", f"/api/spaces/{space}{path}").status for path in paths] == [404] * len(paths)
    assert eve.call("POST", f"/api/spaces/{space}/events", {"text": "hello"}).status == 404
    assert eve.call("GET", f"/api/actors/{spec}").status == 404
    assert eve.call("POST", f"/api/actors/{spec}/rotate-key").status == 404
    assert eve.get("/api/search?q=secret") == []
    assert [one["space_id"] for one in eve.get("/api/spaces")] == [made["space_id"]]
    with pytest.raises(InvalidStatus) as refused, eve.live(space):
        pass
    assert refused.value.response.status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b"[" * 100_000, 400),
        (b'{"text": "\\ud800"}', 422),
        (b'{"text": "\\u0000"}', 422),
        (b'{"text": "x", "metadata": {"a": NaN}}', 422),
        (b'{"text": "x", "metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", 422),
        (b'{"text": "' + b"x" * 65_537 + b'"}', 422),
        (b'{"text": "' + b"x" * (1 << 20) + b'"}', 413),
        (b'{"text": "x", "references": null}', 200),
        (b'{"text": "x", "metadata": null, "more": 1}', 200),
    ],
    ids=str,
)
def test_a_malformed_or_oversized_body_is_refused(
    agents: dict[str, Client], space: str, body: bytes, status: int
) -> None:
    answer = agents["Spec"].call("POST", f"/api/spaces/{space}/events", body)

    assert answer.status == status, answer
    if status == 422:
        assert {"loc", "msg", "type"} == set(answer.body["detail"][0])


def test_a_connection_with_an_unknown_key_is_refused(server: Server, space: str) -> None:
    with pytest.raises(InvalidStatus) as refused, Client(server.port, "convo_no").live(space):
        pass
    assert refused.value.response.status_code == 401


def test_frames_that_mean_nothing_do_no_harm(agents: dict[str, Client], space: str) -> None:
    qa = agents["QA"]
    with qa.live(space, qa.newest(space)) as live:
        for text in (
            "",
            "[]",
            "{",
            "[" * 50_000,
            '{"type": "ack"}',
            '{"type": "heartbeat"}',
            '{"type": "ack", "sequence": -1}',
            '{"type": "ack", "event_id": "\\u0000"}',
            '{"type": "ack", "event_id": "\\ud800"}',
            '{"type": "ack", "event_id": "' + "x" * 10_000 + '"}',
        ):
            live.socket.send(text)
        event = agents["Spec"].post(f"/api/spaces/{space}/events", {"text": "still here"})
        assert live.event() == event


def test_a_taken_port_is_refused_and_nothing_is_made(server: Server, tmp_path: Path) -> None:
    result = moot("serve", "--data-dir", str(tmp_path / "data"), "--port", str(server.port))

    assert result.returncode == 4 and "--port" in result.stderr
    assert "mootup_pat_" not in result.stdout


def test_a_key_in_the_address_is_for_live_connections_alone(agents: dict[str, Client], space: str) -> None:
    spec = agents["Spec"]
    anonymous = Client(spec.port)

    assert anonymous.call("GET", f"/api/actors/me?token={spec.key}").status == 401
    assert anonymous.call("GET", f"/api/spaces/{space}/events?token={spec.key}").status == 401
    with spec.live(space) as live:
        live.send(type="ack", sequence=0)
        live.frame("acknowledged")
    connection = http.client.HTTPConnection("127.0.0.1", spec.port, timeout=30)
    connection.request("GET", f"/api/spaces/{space}/events/stream?token={spec.key}")
    assert connection.getresponse().status == 200
    connection.close()


def test_the_index_page_repeats_nothing_of_the_client(server: Server) -> None:
    answer = Client(server.port).call("GET", "/", headers={"Host": "evil.example"})

    assert answer.status == 200 and "evil" not in answer.body


def test_the_log_has_no_traceback_for_what_a_client_does(server: Server, agents: dict[str, Client], space: str) -> None:
    qa = agents["QA"]
    with qa.live(space, qa.newest(space)) as live:
        live.socket.send(b"binary")
        event = agents["Spec"].post(f"/api/spaces/{space}/events", {"text": "after a binary frame"})
        assert live.event() == event

    assert "Traceback" not in server.log()


def test_a_body_that_is_half_sent_at_the_stop_leaves_no_traceback(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as half:
            head = f"POST /api/spaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
            half.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
            assert server.person.get("/health") == {"status": "ok"}
            assert server.stop() == 0
            assert half.recv(4096).startswith(b"HTTP/1.1 503 ")
        assert "Traceback" not in server.log()


def test_metrics_count_requests(server: Server) -> None:
    text = Client(server.port).get("/metrics")

    assert 'moot_requests_total{method="GET",route="/api/actors/me",status="200"}' in text
    assert "moot_subscribers " in text


def test_what_was_accepted_survives_a_kill_and_a_stop_says_resume(own_storage: tuple[str, ...], tmp_path: Path) -> None:
    with running(tmp_path, *own_storage) as server:
        space, spec = server.space(), server.agents()["Spec"]
        events: list[dict[str, Any]] = [
            spec.post(f"/api/spaces/{space}/events", {"text": str(number)}) for number in range(20)
        ]
        server.kill()
        token = server.token
        server.start()
        assert server.token == token and not any("mootup_pat_" in line for line in server.said)

        assert spec.get(f"/api/spaces/{space}/events")[-20:] == events
        with spec.live(space, spec.newest(space)) as live:
            until("the server sees the socket", lambda: "moot_subscribers 1" in Client(server.port).get("/metrics"))
            assert server.stop() == 0
            with pytest.raises(ConnectionClosed) as closed:
                live.event()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012


def test_a_timer_that_was_due_while_the_server_was_down_fires_once(
    own_storage: tuple[str, ...], tmp_path: Path
) -> None:
    with running(tmp_path, *own_storage) as server:
        space, agents = server.space(), server.agents()
        timer = {"tool_name": "list_participants", "timer_type": "delay", "duration_secs": 30}
        agents["Spec"].post(f"/api/spaces/{space}/timers", timer)
        server.kill()
        with closing(server.opened()) as database:
            database.write(lambda tx: tx.execute(update(tables.timers).values(next_fire_at="2026-01-01")))
        server.start()

        with agents["Spec"].live(space, 0) as live:
            event = live.event()
            assert event["speaker_id"] == "system" and event["metadata"]["mentions"] == [id_of(agents["Spec"])]
        assert agents["Spec"].get(f"/api/spaces/{space}/timers") == []
        assert server.person.newest(space) == 1
