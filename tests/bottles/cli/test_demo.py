"""The demonstration: its scripted model, and its story with a stand-in for the agent."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.demo.scripted_model import Answer, Script, Step, serving
from tests.bottles.cli.conftest import Cli

KEY = "sk-demo"
STEPS = (Step("first", "begin"), Step("second", "go on"))


def ask(port: int, body: object, *, key: str = KEY, path: str = "/v1/messages") -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, headers={"x-api-key": key})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - a port of loopback
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def conversation(*results: str) -> dict[str, object]:
    blocks = [{"type": "tool_result", "tool_use_id": f"t{n}", "content": one} for n, one in enumerate(results)]
    return {"messages": [{"role": "user", "content": blocks}], "tools": [{"name": "Bash"}], "stream": True}


def events(stream: bytes) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]


def test_the_script_says_one_step_for_each_result_and_then_its_closing_words() -> None:
    told: list[tuple[Step | None, Answer | None]] = []
    script = Script(STEPS, "the end", KEY, on_step=lambda *what: told.append(what))
    with serving(script) as port:
        streams = [events(ask(port, conversation(*["x"] * n))[1]) for n in (0, 0, 1, 2)]

    said = ["".join(str(one.get("delta", "")) for one in stream) for stream in streams]
    assert "first" in said[0] and "first" in said[1] and "second" in said[2] and "the end" in said[3]
    assert [stream[0]["type"] for stream in streams] == ["message_start"] * 4
    assert [stream[-1]["type"] for stream in streams] == ["message_stop"] * 4
    assert told == [(STEPS[0], None), (STEPS[1], Answer("x", False)), (None, Answer("x", False))]


@pytest.mark.parametrize(
    ("body", "key", "path", "status"),
    [
        (conversation(), "another", "/v1/messages", 401),
        (conversation(), KEY, "/v1/files", 404),
        (b"no json", KEY, "/v1/messages", 400),
        (b'{"messages": 3, "tools": [1]}', KEY, "/v1/messages", 400),
        ({"messages": []}, KEY, "/v1/messages/count_tokens", 200),
        ({"messages": []}, KEY, "/v1/messages", 200),
    ],
)
def test_the_script_answers_what_is_no_turn_of_an_agent(body: object, key: str, path: str, status: int) -> None:
    with serving(Script(STEPS, "the end", KEY)) as port:
        assert ask(port, body, key=key, path=path)[0] == status


@pytest.fixture
def stand_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program `claude` of this host."""
    folder = project.parent / "bin"
    folder.mkdir()
    target = folder / "claude"
    shutil.copy(Path(__file__).with_name("claude_stand_in.py"), target)
    target.write_text(f"#!{sys.executable}\n" + target.read_text().partition("\n")[2])
    target.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return target


@pytest.mark.usefixtures("stand_in")
def test_the_demonstration_tells_its_story_and_leaves_nothing(cli: Cli) -> None:
    told = cli("demo", "--backend", "fake")

    assert told.returncode == 0, told.stderr
    for part in ("failed: Exit code 1, not ok", "sum.js subtracted; now it adds", "+exports.sum = (a, b) => a + b;"):
        assert part in told.stdout
    assert "the agent has placeholder-of-ANTHROPIC_API_KEY" in told.stdout
    assert "the model got the real key" in told.stdout
    assert list(state.bottles_home().iterdir()) == []


def test_a_demonstration_that_goes_wrong_says_so_and_leaves_nothing(cli: Cli, stand_in: Path) -> None:
    stand_in.write_text(stand_in.read_text().replace('"--idle" not in sys.argv', "False"))

    told = cli("demo", "--backend", "fake")

    assert told.returncode == 8 and "did not do what the script said" in told.stderr
    assert list(state.bottles_home().iterdir()) == []
