"""A real agent asks a person for a host, and gets it only then: `python -m … BACKEND FOLDER AGENT`.

It runs in namespaces of its own, on the host of the lab of tests/leaks: the canaries' own log tells what has reached
them. Prints one JSON object.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.docker_engine import NoEngine, started_engine
from claude_bottle import state
from claude_bottle.bottle_info import bottle_of
from claude_bottle.bottles import Bottles
from claude_bottle.manifest import load
from claude_bottle.page.serving import Page, PageOptions
from tests.chat_hosts.model_api import Call, Model, Story, served
from tests.leaks.guests import Workspaces
from tests.leaks.lab import Lab, knock, settle
from tests.leaks.world import OTHER
from tests.style.project import ROOT
from tests.waiting import until

KEY = "sk-ant-the-real-value-0123456789"
REASON = "to install\u202e it \x1b[31mnow"
_SECONDS = 120.0
# All ways from the guest to whoever approves: the guard's other ports and paths, tools that do not exist, its files.
_FORGE = """
for way in 127.0.0.1 10.0.2.2 10.0.2.3 localhost guard.bottle.internal git.bottle.internal other.test; do
  for port in 80 PAGE_PORT; do
    curl -sS --max-time 3 -H "Host: 127.0.0.1:PAGE_PORT" "http://$way:$port/list/x"; echo
  done
done
for way in guard.bottle.internal:8080/ guard.bottle.internal/ guard.bottle.internal/approve/r1 git.bottle.internal/ \
  10.0.2.2/ 10.0.2.3/ 127.0.0.1/ page.bottle.internal/; do curl -sS --max-time 5 -X POST "http://$way"; echo; done
curl -sS --max-time 9 -H 'Accept: application/json, text/event-stream' -H 'Content-Type: application/json' \
  -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"approve","arguments":{"request":"r1"}}}' \
  http://guard.bottle.internal/mcp; echo
find / -xdev \\( -name guard.db\\* -o -name supervisor -o -name journal.jsonl \\) -not -path '/proc/*' 2>/dev/null
echo forged
"""


@dataclass(frozen=True)
class Agent:
    """A real agent: its model's API, its tool for commands, and its words for one turn."""

    api: str
    tool: str
    argument: str
    model: str
    words: tuple[str, ...]
    program: Path | None = None
    """The folder of its program on this host; None when the environment has it."""

    def fetch(self, token: str) -> Call:
        """Return the call that fetches a path of the host with the canary."""
        command = f"curl -sS --max-time 9 http://other.test/{token}; echo"
        return Call(self.tool, {self.argument: command, "description": "fetch"})


_HOSTS = ROOT / "build/hosts/node_modules"
CODEX = _HOSTS / "@openai/codex/vendor/x86_64-unknown-linux-musl/bin"
OPENCODE = _HOSTS / "opencode-linux-x64-baseline/bin"
CLAUDE_API = "api.anthropic.com"
AGENTS = {
    "claude": Agent(CLAUDE_API, "Bash", "command", "claude-sonnet-4-5", ("-p",)),
    "codex": Agent("api.openai.com", "exec_command", "cmd", "gpt-5", ("exec",), CODEX),
    "opencode": Agent(CLAUDE_API, "bash", "command", "anthropic/claude-sonnet-4-5", ("run",), OPENCODE),
}


def short_story(told: dict[str, Any], waiting: threading.Event, agent: Agent) -> Story:
    """Try the host, ask for it, wait for the person, and try the host again."""
    told["refused"] = yield agent.fetch("token-before")
    told["asked"] = yield Call("request_capability", {"kind": "host", "host": "other.test:80", "reason": REASON})
    told["still"] = yield Call("capability_status", {"request": "r1"})
    waiting.set()
    told["decided"] = yield Call("capability_status", {"request": "r1", "wait_seconds": 50})
    told["reached"] = yield agent.fetch("token-after")
    return "I have what I need."


def story(told: dict[str, Any], waiting: threading.Event, page: Page) -> Story:
    """Try the host, ask for it, try to approve it alone, wait for the person, and try the host again."""
    fetch = AGENTS["claude"].fetch
    told["refused"] = yield fetch("token-before")
    asked = yield Call("request_capability", {"kind": "host", "host": "other.test:80", "reason": REASON})
    told["asked"] = asked
    yield Call("request_capability", {"kind": "time", "seconds": 600, "reason": "the tests are slow"})
    forge = _FORGE.replace("PAGE_PORT", page.own_url.rpartition(":")[2])
    told["forged"] = yield Call("Bash", {"command": forge, "description": "look around"})
    told["still"] = yield Call("capability_status", {"request": "r1"})
    yield fetch("token-forged")
    waiting.set()
    told["decided"] = yield Call("capability_status", {"request": "r1", "wait_seconds": 50})
    told["reached"] = yield fetch("token-after")
    return "I have what I need."


def command(*words: str) -> Any:
    """Run `claude-bottle`, as a person does, and return what it prints as JSON."""
    argv = [sys.executable, "-m", "claude_bottle.cli", *words, "--json"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout)


def tokens(lab: Lab, wanted: str = "") -> list[str]:
    """Return which tokens have come to a canary since the last call; wait a few seconds for `wanted`."""
    found: set[str] = set()
    end = time.monotonic() + 5
    settle()
    while True:
        seen = " ".join(str(one.get("data")) for one in lab.arrivals())
        found |= {token for token in ("token-before", "token-forged", "token-after", "alive") if token in seen}
        if not wanted or wanted in found or time.monotonic() > end:
            return sorted(found)
        time.sleep(0.01)  # the canaries are asked, they do not tell


def _alive(lab: Lab) -> bool:
    """Return whether the canary notices what this host sends; it may have begun to look only after the first try."""
    for _ in range(3):
        knock("tcp", OTHER, 80, "alive")
        if tokens(lab, "alive"):
            return True
    return False


def bottles_of(folder: Path, backend: str, api: str, name: str) -> Bottles:
    """Return the bottles of a manifest whose agent is this one, and whose folder has the agent's program."""
    agent, tree = AGENTS[name], folder / "tree"
    tree.mkdir()
    bottle: dict[str, Any] = {
        "egress": [{"host": agent.api, "upstream": api}],
        "supervise": True,
        **({} if backend == "docker" else {"accelerator": os.environ["PYRO_ACCELERATOR"]}),
    }
    if agent.program is not None:
        shutil.copytree(agent.program, tree / "bin")
        bottle["env"] = {"PATH": "/workspace/bin:/usr/local/bin:/usr/bin:/bin"}
    tester = {"bottle": "b", "harness": name, "model": agent.model}
    path = folder / "bottles.json"
    path.write_text(json.dumps({"bottles": {"b": bottle}, "agents": {"tester": tester}}))
    return Bottles(folder=tree, manifest=load(file=path))


def run(lab: Lab, backend: str, folder: Path, name: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    waiting = threading.Event()
    page = Page(Bottles(), PageOptions(), [], print)
    agent = AGENTS[name]
    model = Model(story(told, waiting, page) if name == "claude" else short_story(told, waiting, agent))
    with served_page(page), socket.create_server(("127.0.0.1", 0)) as listening, served(model, listening) as api:
        bottles = bottles_of(folder, backend, api, name)
        told["alive"] = _alive(lab)
        words = (*agent.words, "get what you need")
        slug = bottles.run("tester", backend=backend, copy_cwd=agent.program is not None, args=words)["slug"]
        try:
            told["waited"] = waiting.wait(_SECONDS)
            told["arrived_before"] = tokens(lab)
            told["page_requests"], told["page_shows"] = requests_and_list(page)
            told["pending"] = command("pending")["requests"]
            first_end = bottle_of(state.read(slug)).ends_at()
            for request in reversed(told["pending"]):
                command("approve", request["reference"])
            told["longer"] = _longer(slug, first_end) if len(told["pending"]) > 1 else 0.0
            told["ended"] = _ended(bottles, slug)
            told["output"] = bottles.logs(slug)["output"]
            told["arrived_after"] = tokens(lab, "token-after")
        finally:
            bottles.stop(slug)
    told["failure"], told["closing"] = model.failure and str(model.failure), model.closing
    told["journal"] = [[one["kind"], one["decision"], one["who"]] for one in command("audit")["entries"]]
    told["verified"] = command("audit", "verify")["intact"]
    told["left"] = [*state.slugs(), *(path.name for path in state.bottles_home().iterdir())]
    return told


@contextmanager
def served_page(page: Page) -> Iterator[None]:
    """Serve the page of a phone meanwhile."""
    thread = threading.Thread(target=page.serve)
    thread.start()
    try:
        yield
    finally:
        page.stop()
        thread.join(30)
        page.close()


def requests_and_list(page: Page) -> tuple[int, bool]:
    """Return how many requests have come to the page so far, and whether it shows this host the request."""
    before = page._server.server_state.total_requests
    parts = urlsplit(page.list_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.request("GET", parts.path)
    shown = "other.test" in connection.getresponse().read().decode()
    connection.close()
    # It counts an answer after it was sent.
    until("the page has counted", lambda: page._server.server_state.total_requests, lambda count: count == before + 1)
    return before, shown


def _longer(slug: str, first_end: float) -> float:
    """Return by how much the lifetime of a bottle has grown, once it has."""
    end = time.monotonic() + 60
    while (grown := bottle_of(state.read(slug)).ends_at() - first_end) < 60 and time.monotonic() < end:
        time.sleep(0.1)
    return grown


def _ended(bottles: Bottles, slug: str) -> bool:
    """Wait until the agent has ended: nothing tells the commands of another process when."""
    end = time.monotonic() + _SECONDS
    while bottles.status(slug)["exit_code"] is None:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def main() -> None:
    backend, folder, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    os.environ |= dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY"), KEY)
    with ExitStack() as stack:
        try:
            if backend == "docker":
                os.environ["DOCKER_HOST"] = stack.enter_context(started_engine(in_memory=True))
            lab = stack.enter_context(Lab(folder, Workspaces()).running())
            told: dict[str, Any] | None = run(lab, backend, folder, name)
        except NoEngine:
            told = None
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
