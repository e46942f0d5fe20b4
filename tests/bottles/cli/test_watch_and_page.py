"""`claude-bottle watch` in a person's terminal, and `claude-bottle page` as a process."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.bottles.asking import asking_bottle
from tests.bottles.cli.conftest import COMMAND, Cli
from tests.terminal.person import at_terminal

SECONDS = 30.0


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_the_screen_leaves_the_terminal_as_it_was(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with at_terminal([*COMMAND, "watch"], columns=80, rows=24) as person:
        person.wait_for(b"Decisions")
        person.type(key)
        person.wait_for(b"\x1b[?1049l")  # the normal screen is back
        person.wait_for(b"\x1b[?25h")  # the cursor too
        assert person.program.wait(SECONDS) == 0


def test_a_request_is_approved_at_the_terminal(project: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert project
    monkeypatch.setenv("TERM", "xterm")
    (home / "manifest").write_text("")
    with asking_bottle(str(home / "manifest")) as bottle, at_terminal([*COMMAND, "watch"]) as person:
        request = bottle.ask()
        person.wait_for(b"connect to pypi.org")
        person.type(b"a")
        person.wait_for(b"Approve this request?")
        person.type(b"y")
        person.wait_for(b"approved by")
        assert bottle.state_of(request)[0] == "approved"


def fetched(url: str) -> tuple[int, str]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=SECONDS)) as connection:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_screen_needs_a_terminal(cli: Cli) -> None:
    told = cli("watch")

    assert told.returncode == 2 and "watch needs a terminal" in told.stderr


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_page_serves_until_a_signal_and_can_be_served_again(end: signal.Signals) -> None:
    for _ in range(2):
        with subprocess.Popen([*COMMAND, "page"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            try:
                assert program.stdout is not None and program.stderr is not None
                url = program.stdout.readline().rpartition(" ")[2].strip()
                assert fetched(url)[0] == 200 and "No agent waits" in fetched(url)[1]
                assert fetched(f"{url}x")[0] == 404
                program.send_signal(end)
                assert program.wait(SECONDS) in (130, 143, -signal.SIGKILL)
                assert "Traceback" not in program.stderr.read()
            finally:
                program.kill()


@pytest.mark.parametrize("address", ["8043", "localhost:8043", "127.0.0.1:x", "127.0.0.1:99999", "0.0.0.0:0"])
def test_an_address_that_cannot_be_used_is_refused(cli: Cli, address: str) -> None:
    told = cli("page", "--listen", address)

    assert told.returncode in (2, 4) and "Traceback" not in told.stderr and told.stdout == ""


@pytest.mark.usefixtures("project")
def test_the_screen_says_how_to_install_what_is_missing() -> None:
    lines = ["import sys", "sys.modules['textual'] = None", "from claude_bottle.cli import main", "sys.exit(main())"]
    with at_terminal([sys.executable, "-c", "\n".join(lines), "watch"]) as person:
        person.wait_for(b"pip install 'pyro-mcp[watch]'")
        assert person.program.wait(SECONDS) == 5
