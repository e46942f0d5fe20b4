"""The door of a role lets in only its own bottle, and believes nothing that would reach a file of this host."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from moot.agents.state import read_state
from moot.bottled.guest_hooks import EVENTS, SEEN_HEADER, TOKEN_VARIABLE, hooks
from moot.mailbox.mailbox import Mailbox
from moot.mailbox.message_block import Message
from tests.moot.adapters.team import Team, team
from tests.waiting import until

ROLE, TOKEN = "qa", "a-token-of-the-test-0123456789"


class Door:
    """A door, and requests to it as the gateway of a bottle passes them on."""

    def __init__(self, process: subprocess.Popen[str], run_folder: Path) -> None:
        assert process.stdout is not None
        self.process, self.run_folder = process, run_folder
        self.port = int(process.stdout.readline())

    def post(self, path: str, body: object, *, token: str = TOKEN, **headers: str) -> tuple[int, str]:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = {"Authorization": f"Bearer {token}", "Host": "convo.bottle.internal", **headers}
        more |= {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with closing(connection):
            connection.request("POST", path, sent, more)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    @contextmanager
    def mailbox(self) -> Iterator[Mailbox]:
        box = Mailbox(self.run_folder / "mailbox.db")
        yield box
        box.close()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("team")) as found:
        yield found


@pytest.fixture(scope="module")
def door(workshop: Team) -> Iterator[Door]:
    argv = [sys.executable, "-P", "-m", "moot.bottled.door"]
    environ = workshop.environment(ROLE, **{TOKEN_VARIABLE: TOKEN})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, text=True, env=environ, cwd=workshop.project, **pipes) as process:  # type: ignore[call-overload]
        yield Door(process, workshop.run_folder(ROLE))
        process.stdin.close()
        assert process.wait(30) == 0, "it ends with the program that started it"


def initialize() -> dict[str, object]:
    who = {"name": "guest", "version": "1"}
    given = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": who}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": given}


def test_a_bottle_reaches_the_tools_under_the_name_that_it_knows(door: Door) -> None:
    status, text = door.post("/mcp", initialize())
    assert status == 200 and '"name":"convo"' in text.replace(" ", "")


@pytest.mark.parametrize("path", ["/mcp", "/hook/Stop"])
def test_nobody_without_the_token_gets_in(door: Door, path: str) -> None:
    assert door.post(path, initialize(), token=TOKEN[::-1])[0] == 401


def test_a_hook_of_the_guest_reports_the_state(door: Door) -> None:
    assert door.post("/hook/UserPromptSubmit", {"session_id": "one", "prompt": "go"}) == (200, "")
    found = read_state(door.run_folder)
    assert found is not None and (found.word, found.session_id) == ("running", "one")
    assert door.post("/hook/Stop", {"session_id": "one"})[0] == 200
    found = read_state(door.run_folder)
    assert found is not None and found.word == "idle"


def test_a_message_is_offered_and_seen_without_a_transcript_on_this_host(door: Door, workshop: Team) -> None:
    workshop.post("person", "a task for the guest", to=[ROLE])
    until("it is in the mailbox", lambda: waiting(door), lambda count: count == 1)
    _, said = door.post("/hook/Stop", {"session_id": "one"})
    assert "a task for the guest" in said
    token = said.split("ofr_")[1][:24]
    assert door.post("/hook/UserPromptSubmit", {"prompt": "x"}, **{SEEN_HEADER: f"ofr_{token}"})[0] == 200
    _, again = door.post("/hook/Stop", {"session_id": "two"})
    assert "a task for the guest" not in again


def waiting(door: Door) -> int:
    with door.mailbox() as box:
        return box.unread().mentions


def test_no_file_of_this_host_is_read_because_a_guest_names_it(door: Door, tmp_path: Path) -> None:
    message = Message("evt_1", "spc_1", 1, "mention", "agt_1", "Eve", "agent", "text", "2026-01-01T00:00:00Z")
    with door.mailbox() as box:
        box.add(message)
        offer = box.claim("hook")
        assert offer is not None
        transcript = tmp_path / "transcript.jsonl"
        transcript.write_text(json.dumps({"type": "user", "text": offer.token}) + "\n")
        door.post("/hook/PostToolUse", {"session_id": "one", "transcript_path": str(transcript)})
        assert not box.accepted(offer)
        door.post("/hook/PostToolUse", {"session_id": "one"}, **{SEEN_HEADER: offer.token})
        assert box.accepted(offer)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/hook/Stop", b"[" * 100_000, 400),
        ("/hook/Stop", b"\xff", 400),
        ("/hook/Stop", [], 400),
        ("/hook/Stop", b" " * ((2 << 20) + 1), 413),
        ("/hook/NoSuchEvent", {}, 404),
        ("/hook/../x", {}, 404),
    ],
)
def test_what_is_no_input_of_a_hook_is_refused(door: Door, path: str, body: object, status: int) -> None:
    assert door.post(path, body)[0] == status


def test_each_hook_of_the_guest_is_one_shell_script_without_the_token() -> None:
    found = hooks("convo.bottle.internal")
    assert list(found) == list(EVENTS)
    for event, (hook,) in found.items():
        script = hook["hooks"][0]["command"]
        assert subprocess.run(["sh", "-n", "-c", script], check=False).returncode == 0
        assert f"http://convo.bottle.internal/hook/{event} " in script and f"${TOKEN_VARIABLE}" in script


@pytest.mark.parametrize(
    ("words", "left_out", "message"),
    [
        (["moot.bottled.door"], TOKEN_VARIABLE, f"{TOKEN_VARIABLE} is not set"),
        (["moot.bottled.window", "--permission-mode", "plan"], "CONVO_ROLE", "CONVO_ROLE is not set"),
    ],
)
def test_without_its_variable_a_program_says_what_is_missing(
    workshop: Team, words: list[str], left_out: str, message: str
) -> None:
    environ = workshop.environment(ROLE, **{TOKEN_VARIABLE: TOKEN})
    del environ[left_out]
    done = subprocess.run(
        [sys.executable, "-P", "-m", *words],
        env=environ,
        cwd=workshop.project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith(f"moot: {message}"), done.stderr
    assert "Traceback" not in done.stderr
