"""The published client, mootup 0.3.0, works against our server unchanged: login, init, both adapters."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.moot.server.running import Client, Server, delivery_states, running, until_state
from tests.style.project import ROOT

_PYTHON = ROOT / "build/moot-client/bin/python"
_SECONDS = 60.0

pytestmark = pytest.mark.skipif(not _PYTHON.exists(), reason="make setup-test installs the published client")


@dataclass
class Adapter:
    """An adapter of the published client, as a harness runs it: JSON-RPC over its standard streams."""

    process: subprocess.Popen[str]
    answers: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    pushed: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)
    number: int = 0
    reader: threading.Thread | None = None

    def end(self) -> None:
        self.process.kill()
        if self.reader is not None:
            self.reader.join(_SECONDS)
        self.process.__exit__(None, None, None)

    def begin(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        client = {"name": "test", "version": "1"}
        self.request("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._send(method="notifications/initialized")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            (self.answers if "id" in message else self.pushed).put(message)

    def _send(self, **message: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self.process.stdin.flush()

    def request(self, method: str, **params: object) -> dict[str, Any]:
        self.number += 1
        self._send(id=self.number, method=method, params=params)
        answer = self.answers.get(timeout=_SECONDS)
        assert answer["id"] == self.number and "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def call(self, tool: str, /, **arguments: object) -> str:
        """Return the text that a tool returns, which must not be an error."""
        result = self.request("tools/call", name=tool, arguments=arguments)
        text = str(result["content"][0]["text"]) if result["content"] else ""
        assert not result.get("isError"), (tool, text)
        return text

    def notification(self) -> dict[str, Any]:
        """Return the parameters of the next message that the channel pushes into the harness."""
        message = self.pushed.get(timeout=_SECONDS)
        assert message["method"] == "notifications/claude/channel"
        params: dict[str, Any] = message["params"]
        return params


@dataclass
class Project:
    """A folder in which the published client was initialised."""

    server: Server
    folder: Path
    environ: dict[str, str]

    def moot(self, *words: str) -> str:
        argv = [str(_PYTHON), "-m", "moot", *words]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def actors(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = json.loads((self.folder / ".moot/actors.json").read_text())["actors"]
        return found

    def client(self, role: str) -> Client:
        return Client(self.server.port, self.actors[role]["api_key"])

    @contextmanager
    def adapter(self, module: str, role: str, **more: str) -> Iterator[Adapter]:
        """Yield a running adapter of a role, with the environment that the published wrappers give it."""
        actor = self.actors[role]
        environ = {
            **self.environ,
            "CONVO_API_URL": f"http://127.0.0.1:{self.server.port}",
            "CONVO_API_KEY": actor["api_key"],
            "CONVO_AGENT_ID": actor["actor_id"],
            "CONVO_AGENT_NAME": actor["display_name"],
            "CONVO_SPACE_ID": self.server.space(),
            "CONVO_ROLE": role,
            **more,
        }
        with (self.folder / f"{module}-{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(_PYTHON), "-m", f"moot.adapters.{module}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environ,
                cwd=self.folder,
            )
        adapter = Adapter(process)
        try:
            adapter.begin()
            yield adapter
        finally:
            adapter.end()


@pytest.fixture(scope="module")
def project(storage: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("published")
    for name in ("home", "project"):
        (folder / name).mkdir()
    subprocess.run(["git", "init", "--quiet", folder / "project"], check=True, timeout=30)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1"}
    with running(folder, *storage) as server:
        made = Project(server, folder / "project", environ)
        address = f"http://127.0.0.1:{server.port}"
        assert "Authenticated as" in made.moot("login", "--token", server.token, "--api-url", address)
        said = made.moot("init")
        assert "Found 4 keyless agents" in said and "(Home)" in said
        yield made


def test_init_adopts_the_agents_with_keys_that_work(project: Project) -> None:
    assert sorted(project.actors) == ["implementation", "product", "qa", "spec"]
    for role, actor in project.actors.items():
        assert project.client(role).get("/api/actors/me")["actor_id"] == actor["actor_id"]


def test_init_by_force_and_a_provision_work_too(project: Project) -> None:
    before = project.actors["product"]["api_key"]

    project.moot("init", "--force", "--yes")
    assert project.actors["product"]["api_key"] != before
    assert Client(project.server.port, before).call("GET", "/api/actors/me").status == 401
    assert project.moot("config", "provision", "--fresh").count("Provisioned ") == 4


def test_every_tool_of_the_mcp_adapter_works(project: Project) -> None:
    space, qa = project.server.space(), project.actors["qa"]["actor_id"]
    transcripts = Path(project.environ["HOME"]) / ".claude/projects" / str(project.folder).replace("/", "-")
    transcripts.mkdir(parents=True)
    (transcripts / "session-1.jsonl").write_text('{"type": "user", "timestamp": "2026-01-01T00:00:00Z"}\n')
    with project.adapter("mcp_runner", "spec") as spec:
        assert len(spec.request("tools/list")["tools"]) == 33
        assert "**Identity:** Spec (agent, non-admin)" in spec.call("orientation")
        assert json.loads(spec.call("join_space", space_id=space))["space_id"] == space
        assert space in spec.call("list_spaces")
        assert json.loads(spec.call("whoami"))["display_name"] == "Spec"
        spec.call("update_status", status="designing")
        assert "Spec: designing (" in spec.call("list_participants")
        assert "Online" in spec.call("list_participants", detail="full")

        shared = json.loads(spec.call("share", text="a plan", mentions=[qa], message_type="feature"))["event_id"]
        assert "a plan" in spec.call("get_recent_context", detail="full")
        assert spec.call("get_recent_context", since_event_id=shared) == "(no events)"
        event = json.loads(spec.call("post_response", text="more", parent_event_id=shared))["event_id"]
        thread_id = project.client("spec").post(f"/api/spaces/{space}/threads", {"parent_event_id": event})["thread_id"]
        replied = json.loads(spec.call("reply_to", event_id=event, text="a reply", mentions=[qa]))
        assert replied["thread_id"] == thread_id
        assert [one["text"] for one in json.loads(spec.call("get_thread", event_id=event))["messages"]] == [
            "more",
            "a reply",
        ]
        assert spec.call("get_mentions", detail="minimal") == "(no mentions)"

        question = json.loads(spec.call("ask_question", text="which one?", assigned_to=qa))["question_id"]
        decision = json.loads(spec.call("propose_decision", text="the first", question_id=question))["decision_id"]
        spec.call("resolve_decision", decision_id=decision, resolution="yes")
        assert json.loads(spec.call("list_decisions", status="resolved"))[0]["decision_id"] == decision
        assert json.loads(spec.call("list_questions", status="answered"))[0]["answer"] == "yes"
        other = json.loads(spec.call("ask_question", text="and then?"))["question_id"]
        assert "deferred" in spec.call("defer_question", question_id=other, reason="too early")

        assert "Spec" in spec.call("get_activity", detail="standard")
        assert "plan" in spec.call("get_transcript", start="2020-01-01T00:00:00Z")
        assert spec.call("get_summary", end="2999-01-01T00:00:00Z").startswith("- ") is False
        assert "# Recent events" in spec.call("get_context_with_summary")
        assert "active |" in spec.call("get_space_status")
        for scope in ("current", "linked", "mine"):
            assert shared in spec.call("search_spaces", query="plan", scope=scope)
        link = json.loads(spec.call("link_space", link_type="tracks", target_uri="https://example.org"))["link_id"]
        assert link in spec.call("list_links")
        assert "deleted" in spec.call("unlink_space", link_id=link)
        spec.call("update_space", description="the workshop", links=["https://example.org"])
        assert "the workshop" in spec.call("get_space_status", detail="full")
        timer = json.loads(spec.call("schedule_call", tool="get_mentions", interval="5m"))["timer_id"]
        assert timer in spec.call("list_calls")
        assert "cancelled" in spec.call("cancel_call", timer_id=timer)
        assert spec.call("list_calls") == "No active timers."
        assert json.loads(spec.call("archive_session"))["session_id"] == "session-1"
        assert "already archived" in spec.call("archive_session")


def test_a_mention_reaches_the_channel_once_also_when_the_server_was_killed(project: Project) -> None:
    server, space = project.server, project.server.space()
    product, qa = project.client("product"), project.actors["qa"]["actor_id"]
    body = {"metadata": {"mentions": [qa]}}
    with project.adapter("channel_runner", "qa") as channel:
        assert channel.call("list_subscriptions") == f"- {space}"
        earlier = product.post(f"/api/spaces/{space}/events", {**body, "text": "earlier"})
        while (found := channel.notification())["meta"]["event_id"] != earlier["event_id"]:
            pass  # what was said before it was connected
        assert found["content"].endswith(":\nearlier")
        assert found["meta"] == {
            "source": "convo",
            "space_id": space,
            "event_type": "mention",
            "event_id": earlier["event_id"],
            "speaker": project.actors["product"]["actor_id"],
        }
        until_state(product, space, earlier, qa, "pushed")

        server.kill()
        server.start()
        missed = [product.post(f"/api/spaces/{space}/events", {**body, "text": str(n)})["event_id"] for n in range(3)]

        assert [channel.notification()["meta"]["event_id"] for _ in missed] == missed
        assert channel.pushed.empty()

        with project.adapter("mcp_runner", "qa") as tools:
            tools.call("get_mentions", limit=2)
            assert delivery_states(product, space, missed[2]) == {qa: "acknowledged"}
            until_state(product, space, {"event_id": missed[0]}, qa, "pushed")
            tools.call("share", text="done")
            assert delivery_states(product, space, missed[0]) == {qa: "acknowledged"}
