"""A server is greeted as a chat host would; one that is dead, silent or confused is told from a good one in time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pyro_mcp.chat_hosts.handshake import handshake
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, HostToolMissing

GOOD = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        print(json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
        answer = {"serverInfo": {"name": os.getcwd(), "version": os.environ.get("XDG_STATE_HOME", "")}}
    elif asked.get("method") == "tools/list":
        answer = {"tools": [{"name": "one"}, {"name": "two"}]}
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}), flush=True)
open(sys.argv[1], "w").write("left by itself")
"""


def server(folder: Path, text: str) -> list[str]:
    path = folder / "server.py"
    path.write_text(text)
    return [sys.executable, str(path), str(folder / "end")]


def test_a_server_is_started_greeted_asked_for_its_tools_and_ended(tmp_path: Path) -> None:
    greeting = handshake(server(tmp_path, GOOD), {"XDG_STATE_HOME": "/there"})

    assert (greeting.name, greeting.version, greeting.tools) == ("/", "/there", ("one", "two"))
    assert (tmp_path / "end").read_text() == "left by itself"


BROKEN = {
    "it ends at once": ("import sys; sys.exit('no such mode: x')", "ended", "no such mode: x"),
    "it says something else": ("print('hello', flush=True); input(); input()", "not the protocol", "wrote nothing"),
    "it refuses": (
        'input(); print(\'{"id": 1, "error": {"message": "go away"}}\', flush=True); input()',
        "refused initialize",
        "wrote nothing",
    ),
    "it does not stop": ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "does not stop", "wrote nothing"),
}


@pytest.mark.parametrize(("text", "reason", "said"), BROKEN.values(), ids=BROKEN)
def test_a_server_that_does_not_work_is_told_with_what_it_said(
    text: str, reason: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(HostCommandFailed, match=reason) as caught:
        handshake(server(tmp_path, text), {}, deadline_seconds=20)

    assert said in caught.value.hint


def test_a_server_that_is_silent_is_ended_at_the_deadline(tmp_path: Path) -> None:
    began = time.monotonic()
    stubborn = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"

    with pytest.raises(DeadlineExceeded, match="does not answer"):
        handshake(server(tmp_path, stubborn), {}, deadline_seconds=0.3)

    assert time.monotonic() - began < 15


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(HostToolMissing, match="/nowhere/pyro"):
        handshake(["/nowhere/pyro"], {})
