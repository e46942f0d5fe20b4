"""Over HTTP: only on loopback, only with the token, and not for a web page of another origin."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.mcp_transport.admission import HEAD_SECONDS, MOST_WAITING
from pyro_mcp.mcp_transport.http import find_token, listen
from tests.mcp_server.conftest import environment, serving

HELLO = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
)


@dataclass
class Site:
    """A server that listens, and what it said of itself."""

    process: subprocess.Popen[str]
    address: str
    token: str

    @property
    def port(self) -> int:
        return urlsplit(self.address).port or 0

    def heard(self) -> str:
        """The next line of its standard error."""
        assert self.process.stderr is not None
        return self.process.stderr.readline().strip()

    def ask(self, headers: dict[str, str | None]) -> int:
        """The status of a POST; a header that is None is left out."""
        given = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
        } | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/mcp", HELLO, {name: one for name, one in given.items() if one is not None})
            return connection.getresponse().status
        finally:
            connection.close()


FILES = 256  # that the server may have open: fewer than the half requests below


@pytest.fixture
def site(fake_home: Path) -> Iterator[Site]:
    assert fake_home.exists()
    command = ["prlimit", f"--nofile={FILES}:{FILES}", *serving("workspace-full", "http")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        address, token = process.stderr.readline().split()
        yield Site(process, address, token)
        process.kill()


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_a_client_with_the_token_can_work(site: Site, mode: str) -> None:
    async def talk() -> int:
        headers = {"Authorization": f"Bearer {site.token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as connection,
            Client(streamable_http_client(site.address, http_client=connection), mode=mode) as client,
        ):
            made = (await client.call_tool("workspace_create", {})).structured_content
            arguments = {"workspace_id": made["workspace_id"], "command": "x"}
            done = (await client.call_tool("workspace_exec", arguments)).structured_content
            return int(done["exit_code"])

    assert anyio.run(talk) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic dTpw"}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1.evil.example"}, 403),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Content-Type": "text/plain"}, 400),
    ],
    ids=str,
)
def test_who_may_not_come_in_is_kept_out(site: Site, headers: dict[str, str | None], status: int) -> None:
    assert site.ask(headers) == status


def test_a_page_of_its_own_origin_may_come_in(site: Site) -> None:
    assert site.ask({"Origin": f"http://localhost:{site.port}"}) == 200


def test_a_body_beyond_all_measure_is_refused(site: Site) -> None:
    assert site.ask({"Content-Length": str(10**12)}) == 413
    assert site.ask({}) == 200


def test_half_requests_without_a_token_shut_nobody_out(site: Site) -> None:
    with half_requests(site, 2 * FILES) as halves:
        began = time.monotonic()
        assert [site.ask({}) for _ in range(3)] == [200] * 3
        assert time.monotonic() - began < 5
        assert is_closed(halves[0])
        assert is_closed(halves[-1], seconds=2 * HEAD_SECONDS)
        assert site.ask({}) == 200


def test_a_connection_that_has_shown_the_token_is_not_ended_for_others(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    headers = {
        "Authorization": f"Bearer {site.token}",
        "Accept": "application/json, text/event-stream",
        "Content-Type": "application/json",
    }
    with closing(connection):
        for _ in range(2):
            connection.request("POST", "/mcp", HELLO, headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            with half_requests(site, MOST_WAITING + 10) as halves:
                assert is_closed(halves[0])


def test_requests_that_are_no_http_leave_no_log(site: Site) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as peer:
            peer.sendall(b"nonsense\r\n\r\n")
            assert peer.recv(1000).startswith(b"HTTP/1.1 400")
    site.process.terminate()
    assert site.process.stderr is not None
    assert site.process.stderr.read() == ""


@contextmanager
def half_requests(site: Site, count: int) -> Iterator[list[socket.socket]]:
    """Connections that begin a request and never end it."""
    with ExitStack() as stack:
        halves = []
        for _ in range(count):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=30))
            half.sendall(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            halves.append(half)
        yield halves


def is_closed(connection: socket.socket, seconds: float = 5) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def test_it_listens_on_loopback_only(site: Site) -> None:
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", site.port))


async def begin_a_command(site: Site, then: Callable[[], None]) -> None:
    """Start a command that goes on for long; when it runs, do `then`, and go."""
    headers = {"Authorization": f"Bearer {site.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as connection,
        Client(streamable_http_client(site.address, http_client=connection), mode="2026-07-28") as client,
    ):
        made = (await client.call_tool("workspace_create", {})).structured_content
        async with anyio.create_task_group() as tasks:
            arguments = {"workspace_id": made["workspace_id"], "command": "wait", "timeout_seconds": 60}
            tasks.start_soon(client.call_tool, "workspace_exec", arguments)
            assert await anyio.to_thread.run_sync(site.heard) == "running"
            await anyio.to_thread.run_sync(then)
            tasks.cancel_scope.cancel()


def test_a_command_ends_when_its_client_goes(site: Site) -> None:
    anyio.run(begin_a_command, site, lambda: None)

    assert site.heard() == "interrupted"


def test_a_signal_ends_the_server_and_what_runs(site: Site) -> None:
    def end() -> None:
        site.process.send_signal(signal.SIGTERM)
        while site.heard() != "interrupted":
            assert site.process.poll() is None

    with suppress(ExceptionGroup):  # the client is told nothing but that the server has gone
        anyio.run(begin_a_command, site, end)
    assert site.process.wait(20) != 0


def test_a_token_comes_from_a_private_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    file.chmod(0o600)
    assert find_token(file) == "0123456789abcdef"
    file.chmod(0o644)
    with pytest.raises(InvalidRequest) as raised:
        find_token(file)
    assert raised.value.hint == f"chmod 600 {file}"

    assert find_token() is None
    monkeypatch.setenv("PYRO_MCP_TOKEN", "fedcba9876543210")
    assert find_token() == "fedcba9876543210"


@pytest.mark.parametrize("token", ["", "short", "0123456789 abcdéf", "x" * 5000])
def test_a_token_that_can_be_guessed_or_sent_badly_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRO_MCP_TOKEN", token)

    with pytest.raises(InvalidRequest):
        find_token()


def test_a_port_that_is_taken_is_told() -> None:
    with listen(0) as first, pytest.raises(Conflict, match="cannot listen"):
        listen(first.getsockname()[1])
