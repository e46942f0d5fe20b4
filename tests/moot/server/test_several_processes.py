"""Three server processes on one PostgreSQL serve one space."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed

from tests.moot.server.postgresql import new_database
from tests.moot.server.running import Client, Server, moot, running, until_state


@pytest.fixture(scope="module")
def servers(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Three processes, the first of which has made the first user."""
    url = new_database(postgresql)
    with ExitStack() as stack:
        made = []
        for _ in range(3):
            folder = tmp_path_factory.mktemp("process")
            made.append(stack.enter_context(running(folder, "--database-url", url)))
        assert [bool(server.token) for server in made] == [True, False, False]
        yield made


def test_what_one_process_accepts_reaches_the_sockets_of_all(servers: list[Server]) -> None:
    first, space = servers[0], servers[0].space()
    agents = first.agents()
    spec, qa = agents["Spec"], agents["QA"]
    qa_id = qa.get("/api/actors/me")["actor_id"]
    start = first.person.newest(space)
    with ExitStack() as stack:
        lives = [
            stack.enter_context(Client(server.port, client.key).live(space, start))
            for server, client in zip(servers, (spec, qa, first.person), strict=True)
        ]

        def post(number: int) -> None:
            server = servers[number % 3]
            body = {"text": str(number), "metadata": {"mentions": [qa_id]}}
            Client(server.port, spec.key).post(f"/api/spaces/{space}/events", body)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(post, range(60)))

        seen = [[live.event() for _ in range(60)] for live in lives]
        assert seen[0] == seen[1] == seen[2]
        assert [event["sequence"] for event in seen[0]] == list(range(start + 1, start + 61))
        assert {event["text"] for event in seen[0]} == {str(number) for number in range(60)}
        until_state(first.person, space, seen[0][-1], qa_id, "pushed")


def test_a_key_that_one_process_rotates_ends_a_socket_of_another(servers: list[Server]) -> None:
    first, space = servers[0], servers[0].space()
    agent = first.person.post("/api/actors", {"display_name": "Short"})
    path = f"/api/actors/{agent['actor_id']}/rotate-key"
    with Client(servers[2].port, agent["api_key"]).live(space, first.person.newest(space)) as live:
        assert first.person.call("POST", path).status == 409

        first.person.post(path, **{"X-Force-Rotate": "true"})

        with pytest.raises(ConnectionClosed) as closed:
            live.event()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


def test_a_process_that_is_killed_takes_nothing_with_it(servers: list[Server]) -> None:
    space, agents = servers[0].space(), servers[0].agents()
    spec = agents["Spec"]
    event = Client(servers[1].port, spec.key).post(f"/api/spaces/{space}/events", {"text": "accepted"})
    servers[1].kill()

    assert spec.get(f"/api/spaces/{space}/events/{event['event_id']}") == event
    servers[1].start()
    assert json.dumps(event) in json.dumps(Client(servers[1].port, spec.key).get(f"/api/spaces/{space}/events"))


def test_a_database_with_another_encoding_is_refused(postgresql: str, tmp_path: Path) -> None:
    with psycopg.connect(postgresql.replace("NAME", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    result = moot("serve", "--data-dir", str(tmp_path), "--database-url", postgresql.replace("NAME", "latin"))

    assert result.returncode == 2 and "UTF8" in result.stderr
