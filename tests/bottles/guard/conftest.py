"""Requests of a bottle, and its guard with this test as its gateway."""

from __future__ import annotations

import http.client
import json
import os
import queue
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_bottle import state
from claude_bottle.guard.presence import present_guard
from claude_bottle.guard.process import end_guard, guarding, new_guard_name
from claude_bottle.guard.requests import Asker, Request, Requests
from claude_bottle.guard.settings import GuardSettings, guard_dir
from claude_bottle.manifest import BottleConfig
from pyro_mcp.network.policy.log import Attempt, log_entry
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.network.supervision.client import SupervisorClient, connect_to_supervisor
from tests.bottles.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorded() -> list[tuple[str, str]]:
    """What has been recorded: the id and the state of a request."""
    return []


@pytest.fixture
def requests(tmp_path: Path, clock: Clock, recorded: list[tuple[str, str]]) -> Iterator[Requests]:
    with Requests(tmp_path / "guard.db", lambda one: recorded.append((one.id, one.state)), clock) as found:
        yield found


@pytest.fixture
def asker() -> Asker:
    return Asker(
        guard="g1", slug="web-1", bottle="small", agent="web", policy="p1", timeout_seconds=900, grant_seconds=3600
    )


Policy = Callable[[Request], str | None]


@pytest.fixture
def unchanged() -> Policy:
    """The policy of a bottle that is as it was."""
    return lambda request: request.policy


class Gateway:
    """A gateway as its guard sees it: a client of the supervisor that keeps the rules it gets."""

    def __init__(self, path: Path) -> None:
        self.channel = connect_to_supervisor(path)
        self.client = SupervisorClient(self.channel)
        self.rules: queue.SimpleQueue[Rules] = queue.SimpleQueue()
        self.ended = threading.Event()
        self.client.start()
        threading.Thread(target=self._serve, daemon=True).start()

    def refused(self, name: str, port: int | None = 443, reason: str = "not in the allow list") -> str:
        """Report a refused connection; return what the guest reads with it."""
        return self.client.decided(log_entry("refused", Attempt("tcp", name, None, port), reason))

    def allowed(self, name: str, port: int = 443) -> None:
        """Report an allowed connection before it is made; raises `Refused` when the guard forbids it."""
        self.client.decided(log_entry("allowed", Attempt("tcp", name, None, port)))

    def tool(self, name: str, **arguments: object) -> dict[str, Any]:
        """Call a tool of the agent; return its answer, or {"failed": TEXT}."""
        params = {"name": name, "arguments": arguments}
        result = self.mcp("tools/call", params)["result"]
        text = result["content"][0]["text"]
        return {"failed": text} if result.get("isError") else dict(json.loads(text))

    def mcp(self, method: str, params: Mapping[str, object]) -> dict[str, Any]:
        """Send one request to the MCP server; return its answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        status, text = self.http("POST", "/mcp", body)
        assert status == 200, text
        return dict(json.loads(text))

    def http(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, str]:
        """Send one request over a connection that the guard gives; return the status and the content."""
        with closing(http.client.HTTPConnection("guard.bottle.internal", timeout=60)) as connection:
            connection.sock = self.client.connect("guard.bottle.internal")
            connection.sock.settimeout(60)
            accepted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
            connection.request(method, path, body, {**accepted, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def close(self) -> None:
        """End, as a gateway does when its machine has ended."""
        with suppress(OSError):
            self.channel.shutdown(socket.SHUT_RDWR)
        self.ended.wait(20)
        self.channel.close()

    def _serve(self) -> None:
        self.client.serve(lambda rules, _: self.rules.put(rules))
        self.ended.set()


@dataclass
class Guarded:
    """A bottle whose guard runs, and whose gateway is this process."""

    settings: GuardSettings
    gateway: Gateway
    pid: int
    process: int
    """A descriptor that becomes readable when the guard has ended."""

    def ended(self) -> bool:
        """Wait for the end of the guard; return whether it came in time."""
        return bool(select.select([self.process], [], [], 20)[0])


Guard = Callable[..., Guarded]


@pytest.fixture
def guard(home: Path) -> Iterator[Guard]:
    """Starts the guard of a bottle, as a launch does, with these keys of the manifest."""
    manifest = home / "bottles.toml"
    manifest.write_text("")
    started: list[Guarded] = []

    def start(slug: str = "web-1", rules: Sequence[Any] = ("pypi.org",), project: str = "", **bottle: Any) -> Guarded:
        config = BottleConfig.model_validate(bottle)
        settings = GuardSettings(
            guard=new_guard_name(),
            slug=slug,
            agent="web",
            bottle="small",
            backend="pyro",
            rules=Rules(tuple(rules)).to_json(),
            config=config.model_dump(mode="json"),
            manifest_files=(str(manifest), project) if project else (str(manifest),),
            budget_file=str(manifest),
        )
        state.stage_dir(slug).mkdir(parents=True, mode=0o700, exist_ok=True)
        with guarding(settings) as path:
            gateway = Gateway(path)
        present = present_guard(guard_dir(slug))
        assert present is not None and present[0] == settings.guard
        started.append(Guarded(settings, gateway, present[1], os.pidfd_open(present[1])))
        return started[-1]

    yield start
    for one in started:
        one.gateway.close()
    for one in started:
        end_guard(one.settings.slug)
        os.close(one.process)
