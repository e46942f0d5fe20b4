"""The client of a space server, against a real one."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from moot.client import space_client
from moot.client.errors import NotAuthenticated, ServerFailed, Unreachable, problem
from moot.client.server_address import ServerAddress
from moot.client.space_client import SpaceClient
from moot.client.space_feed import Disconnected, Feed, open_feed
from pyro_mcp.errors import Conflict, DeadlineExceeded, InvalidRequest, NotFound, PyroError
from tests.moot.server.running import Server, free_port, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("client")) as found:
        yield found


@pytest.fixture
def person(server: Server) -> Iterator[SpaceClient]:
    with SpaceClient(f"http://127.0.0.1:{server.port}/", server.token) as client:
        yield client


async def read_to_the_end(feed: Feed) -> None:
    async for _ in feed:
        pass


def test_an_agent_is_adopted_and_speaks_in_its_space(person: SpaceClient) -> None:
    agent = next(one for one in person.my_agents() if one.display_name == "Spec")
    assert agent.api_key_prefix is None
    key = person.rotate_key(agent.actor_id).api_key

    with SpaceClient(person.address.api_url, key) as spec:
        space = spec.orientation().focus_space
        assert space is not None
        posted = spec.post(space.space_id, "done ✓", mentions=[person.me().actor_id], idempotency_key="a/b ?")
        assert spec.post(space.space_id, "done ✓", idempotency_key="a/b ?").event_id == posted.event_id
        assert [one.relevance for one in person.deliveries_of(space.space_id, posted.event_id)] == ["mention"]
    person.acknowledge(space.space_id, [posted.event_id])
    assert [one.state for one in person.deliveries_of(space.space_id, posted.event_id)] == ["acknowledged"]


def test_the_live_log_continues_at_a_position_and_ends_with_the_key(server: Server, person: SpaceClient) -> None:
    space_id = server.space()
    first = person.post(space_id, "one")
    agent = next(one for one in person.my_agents() if one.display_name == "QA")
    key = person.rotate_key(agent.actor_id).api_key

    async def follow() -> None:
        async with open_feed(ServerAddress(person.address.api_url, key), space_id, first.sequence - 1) as feed:
            await feed.heartbeat()
            texts = [(await anext(feed))["data"]["text"]]
            person.post(space_id, "two")
            texts.append((await anext(feed))["data"]["text"])
            assert texts == ["one", "two"]
            person.rotate_key(agent.actor_id, force=True)
            with pytest.raises(NotAuthenticated):
                await read_to_the_end(feed)

    asyncio.run(asyncio.wait_for(follow(), 30))


def test_failures_of_the_server_are_errors_with_a_hint(person: SpaceClient) -> None:
    with pytest.raises(NotFound, match="no space spc_none"):
        person.status("spc_none")
    with pytest.raises(InvalidRequest, match="text"):
        person.in_space("spc_none", "POST", "events", {"text": 1})
    with SpaceClient(person.address.api_url, "convo_wrong") as stranger, pytest.raises(NotAuthenticated) as found:
        stranger.me()
    assert "moot login" in found.value.hint
    assert "convo_wrong" not in str(found.value)


def test_an_id_that_a_model_made_up_stays_within_its_part_of_the_path(server: Server, person: SpaceClient) -> None:
    for made_up in ("../../actors/me", "..", "", "a b?c#d", "\ud800"):
        with pytest.raises((NotFound, InvalidRequest)):
            person.event(server.space(), made_up)


def test_a_text_that_is_no_valid_unicode_is_refused_by_the_server(server: Server, person: SpaceClient) -> None:
    with pytest.raises(InvalidRequest):
        person.post(server.space(), "half \ud800 a pair")


def test_no_server_is_an_error_that_names_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with SpaceClient(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unreachable) as found:
        client.health()
    assert "moot serve" in found.value.hint

    async def open_it() -> None:
        async with open_feed(ServerAddress(f"http://127.0.0.1:{free_port()}"), "spc_1", None):
            pass

    with pytest.raises(Unreachable):
        asyncio.run(open_it())


def test_a_proxy_of_the_environment_is_not_used_for_this_host(
    monkeypatch: pytest.MonkeyPatch, person: SpaceClient
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with SpaceClient(person.address.api_url, person.address.key) as client:
        assert client.me().display_name


def test_certificates_of_the_environment_are_for_tls_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, person: SpaceClient
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with SpaceClient(person.address.api_url, person.address.key) as client:
        assert client.me().display_name
        space_id = client.my_spaces()[0].space_id

    async def open_it() -> None:
        async with open_feed(person.address, space_id, None):
            pass

    asyncio.run(asyncio.wait_for(open_it(), 30))
    with pytest.raises(InvalidRequest, match="SSL_CERT_FILE"):
        SpaceClient("https://127.0.0.1:1")


def test_a_server_that_does_not_answer_is_not_waited_for_forever() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with SpaceClient(address, timeout_seconds=0.2) as client, pytest.raises(DeadlineExceeded):
            client.health()


@contextmanager
def answering(part: bytes, pause: float) -> Iterator[str]:
    """A server whose answer consists of this part, again and again until the client has gone; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            client, _ = listening.accept()
            with client, suppress(OSError):
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                gone = select.poll()
                gone.register(client, select.POLLRDHUP)
                while not gone.poll(pause * 1000):
                    client.sendall(part)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            thread.join(30)
            assert not thread.is_alive()


def test_an_answer_that_does_not_end_in_time_is_not_waited_for() -> None:
    late = pytest.raises(DeadlineExceeded, match="did not answer within")
    with answering(b" ", 0.05) as address, SpaceClient(address, timeout_seconds=0.5) as client, late:
        client.health()


def test_an_answer_without_end_does_not_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_client, "_LARGEST_ANSWER", 2**20)
    too_large = pytest.raises(ServerFailed, match="larger than 1 MiB")
    with answering(b" " * 65536, 0) as address, SpaceClient(address) as client, too_large:
        client.health()


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://a:b@c", "http://x:y", "http://[1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequest):
        ServerAddress(address)


@pytest.mark.parametrize("key", ["a b", "a\nb", "ä"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest):
        ServerAddress("http://127.0.0.1:1", key)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (409, b'{"code": "conflict", "detail": "Space is not active"}', Conflict, "Space is not active"),
        (
            422,
            json.dumps({"detail": [{"loc": ["body", "text"], "msg": "too long"}]}).encode(),
            InvalidRequest,
            "text: too long",
        ),
        (500, b"<html>\n\nbroken", ServerFailed, "<html> broken"),
        (418, b"", InvalidRequest, "refused"),
        (404, b"\xff\xfe", NotFound, "GET /x"),
    ],
)
def test_an_answer_is_an_error_by_its_status(status: int, body: bytes, kind: type[PyroError], words: str) -> None:
    found = problem(status, body, "GET /x")
    assert type(found) is kind
    assert words in found.message and "\n" not in found.message


def test_a_connection_that_ends_is_an_error_that_can_be_tried_again(tmp_path: Path) -> None:
    async def follow(server: Server) -> None:
        space_id = server.space()
        async with open_feed(ServerAddress(f"http://127.0.0.1:{server.port}", server.token), space_id, None) as feed:
            server.kill()
            with pytest.raises(Disconnected):
                await read_to_the_end(feed)

    with running(tmp_path) as server:
        asyncio.run(asyncio.wait_for(follow(server), 30))
