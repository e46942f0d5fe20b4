"""A real server process for tests, and a client for it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from websockets.sync.client import connect
from websockets.sync.connection import Connection

from moot.server.database.database import Database
from moot.server.settings import Settings
from tests.waiting import until

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Answer:
    """The answer to one call."""

    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class Client:
    """Calls of one actor."""

    port: int
    key: str = ""

    def call(self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Make a call; a `bytes` body is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        sent = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        more = {"Content-Type": "application/json"} if sent is not None else {}
        if self.key:
            more["Authorization"] = f"Bearer {self.key}"
        try:
            connection.request(method, path, sent, {**more, **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            kind = response.headers.get("content-type", "")
            answer = json.loads(text) if "json" in kind else text.decode()
            return Answer(response.status, answer, dict(response.headers))
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return what a call returns that must succeed."""
        answer = self.call("GET", path)
        assert answer.status == 200, (path, answer)
        return answer.body

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        """Return what a call returns that must succeed."""
        answer = self.call("POST", path, body, headers=headers)
        assert answer.status in (200, 201), (path, answer)
        return answer.body

    def newest(self, space_id: str) -> int:
        """Return the number of the last event of a space."""
        return int(self.get(f"/api/spaces/{space_id}")["last_sequence"])

    @contextmanager
    def live(self, space_id: str, since: object = None) -> Iterator[Live]:
        """Yield a WebSocket to a space."""
        query = f"token={self.key}" + ("" if since is None else f"&since={since}")
        address = f"ws://127.0.0.1:{self.port}/api/spaces/{space_id}/ws?{query}"
        with connect(address, open_timeout=ANSWER_SECONDS, proxy=None) as socket_:
            yield Live(socket_)

    def bare_socket(self, space_id: str) -> socket.socket:
        """Return a TCP connection on which the handshake of a WebSocket to a space is done."""
        made = socket.create_connection(("127.0.0.1", self.port), timeout=2 * ANSWER_SECONDS)
        head = f"GET /api/spaces/{space_id}/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += f"Authorization: Bearer {self.key}\r\nSec-WebSocket-Version: 13\r\n"
        made.sendall(f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
        assert read_until(made, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        return made


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes over a TCP connection, up to these bytes and a little more."""
    found = b""
    while end not in found:
        block = connection.recv(4096)
        assert block, f"the connection ended after {found!r}"
        found += block
    return found


@dataclass
class Live:
    """A WebSocket to a space."""

    socket: Connection

    def frame(self, kind: str = "context_event") -> dict[str, Any]:
        """Return the next frame of a kind."""
        while True:
            found = json.loads(self.socket.recv(timeout=ANSWER_SECONDS))
            if found["type"] == kind:
                return cast("dict[str, Any]", found)

    def event(self) -> dict[str, Any]:
        """Return the event of the next frame that carries one."""
        return cast("dict[str, Any]", self.frame()["data"])

    def send(self, **frame: object) -> None:
        self.socket.send(json.dumps(frame))


@dataclass
class Server:
    """A server process. `token` is what its first start has printed."""

    port: int
    data: Path
    options: tuple[str, ...] = ()
    token: str = ""
    process: subprocess.Popen[str] | None = None
    said: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start the process, and wait until it serves."""
        words = [sys.executable, "-m", "moot.cli", "serve", "--port", str(self.port), "--data-dir", str(self.data)]
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.said.clear()
        with (self.data.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, *self.options], stdout=subprocess.PIPE, stderr=log, text=True, env=environ
            )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self.process, ready), daemon=True).start()
        assert ready.wait(START_SECONDS), (self.said, self.log())
        assert self.process.poll() is None, (self.said, self.log())
        if found := re.search(r"mootup_pat_\S+", "".join(self.said)):
            self.token = found[0]

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            for line in output:
                self.said.append(line)
                if line.startswith("serving "):
                    ready.set()
        ready.set()

    def kill(self) -> None:
        """End the process as a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(START_SECONDS)

    def stop(self) -> int:
        """End the process by SIGTERM; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_SECONDS)

    def resident_megabytes(self) -> int:
        """Return how much memory the process uses."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") >> 20

    def log(self) -> str:
        return (self.data.parent / "server.log").read_text()

    @property
    def place(self) -> tuple[str, ...]:
        """The options of `moot server` for the data of this server."""
        return ("--data-dir", str(self.data), *self.options)

    def opened(self) -> Database:
        """Return the database of this server, which the caller closes."""
        urls = dict(zip(self.options, self.options[1:], strict=False))
        return Database(Settings(self.data, urls.get("--database-url", "")).database)

    @property
    def person(self) -> Client:
        """The first user."""
        return Client(self.port, self.token)

    def agents(self) -> dict[str, Client]:
        """Give each agent a new key; return their clients by name."""
        found = self.person.get("/api/actors/me/agents")
        keys = {
            one["display_name"]: self.person.post(
                f"/api/actors/{one['actor_id']}/rotate-key", **{"X-Force-Rotate": "true"}
            )["api_key"]
            for one in found
        }
        return {name: Client(self.port, key) for name, key in keys.items()}

    def space(self) -> str:
        """Return the id of the first user's default space."""
        return str(self.person.get("/api/actors/me")["default_space_id"])


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """Yield a server that has just been started for the first time, and stop it afterwards."""
    server = Server(free_port(), folder / "data", options)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()


def id_of(client: Client) -> str:
    """Return the actor id of a client."""
    return str(client.get("/api/actors/me")["actor_id"])


def moot(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command `moot` to its end."""
    argv = [sys.executable, "-m", "moot.cli", *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def delivery_states(client: Client, space_id: str, event_id: str) -> dict[str, str]:
    """Return the state of a message's delivery to each recipient."""
    found = client.get(f"/api/spaces/{space_id}/events/{event_id}/deliveries")
    return {one["recipient_id"]: one["state"] for one in found}


def until_state(client: Client, space_id: str, event: Mapping[str, Any], recipient_id: str, state: str) -> None:
    """Wait until a message's delivery to a recipient has a state."""
    until(
        f"the message is {state}",
        lambda: delivery_states(client, space_id, event["event_id"]).get(recipient_id),
        lambda found: found == state,
    )
