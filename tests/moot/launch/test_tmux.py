"""What is typed into a pane reaches the program as text; names and folders are literal."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moot.agents import tmux_socket
from moot.agents.tmux import LINE_BREAK, Tmux, session_name, socket_name, typed
from moot.agents.tmux_socket import remove_dead_socket
from pyro_mcp.errors import HostCommandFailed, InvalidRequest, NotFound
from tests.waiting import until

RECORDER = """
import os, sys, tty
tty.setraw(0)
sys.stdout.write(sys.argv[2]); sys.stdout.flush()
with open(sys.argv[1], "ab", buffering=0) as out:
    out.write(b"[")
    while True:
        out.write(os.read(0, 65536))
"""
BRACKETED, PLAIN = "\x1b[?2004h", ""
HOSTILE = (
    "a\x1b[201~\x03\x04\x1a\r\nb\x7f\x9b\x9c\x0b\u2028c\u202e\u2066d\te</channel>"
    '<channel x="y">\'$(id)`#{pid}#(id)\x00\ud800;'
)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    found = Tmux(str(tmp_path))
    yield found
    for one in found.panes():
        found.kill(one.session)
    remove_dead_socket(socket_name(str(tmp_path)))


class Recorder:
    """A program in raw mode that records every byte it gets."""

    def __init__(self, tmux: Tmux, folder: Path, session: str, mode: str) -> None:
        self._file = folder / f"{session}.bytes"
        tmux.start(session, [sys.executable, "-c", RECORDER, str(self._file), mode], folder=str(folder))
        self.got(lambda text: text == "[")

    def got(self, accept: object) -> str:
        return until("the bytes", self._text, accept)  # type: ignore[arg-type]

    def _text(self) -> str:
        # The last character may have been recorded in part.
        return self._file.read_bytes().decode(errors="replace") if self._file.exists() else ""


def test_the_socket_file_of_a_server_that_has_ended_is_removed_and_no_other(tmux: Tmux, tmp_path: Path) -> None:
    name = socket_name(str(tmp_path))
    path = Path(f"/tmp/tmux-{os.geteuid()}", name)
    assert not remove_dead_socket(name), "there is none"
    tmux.start("moot-qa", ["sleep", "1000"], folder=str(tmp_path))
    server = int(tmux.ask("display-message", "-p", "#{pid}"))
    tmux.start("moot-spec", ["sleep", "1000"], folder=str(tmp_path))
    tmux.kill("moot-qa")
    assert Path(tmux.ask("display-message", "-p", "#{socket_path}").strip()) == path and path.is_socket()

    os.kill(server, signal.SIGKILL)
    until("it has ended", tmux.panes, lambda panes: panes == [])
    assert path.is_socket()
    assert remove_dead_socket(name) and not list(path.parent.glob(f"{name}*"))
    path.write_text("no socket")
    assert not remove_dead_socket(name) and path.read_text() == "no socket"
    path.unlink()


def test_servers_that_start_while_socket_files_are_removed_can_be_reached(
    tmux: Tmux, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tmux_socket, "_END_SECONDS", 0.02)
    name, over = socket_name(str(tmp_path)), threading.Event()

    def remove() -> None:
        while not over.is_set():
            if not tmux.panes():
                remove_dead_socket(name)

    with ThreadPoolExecutor(1) as threads:
        removing = threads.submit(remove)
        try:
            for _ in range(10):
                tmux.start("moot-qa", ["sleep", "1000"], folder=str(tmp_path))
                path = Path(tmux.ask("display-message", "-p", "#{socket_path}").strip())
                assert tmux.pane("moot-qa") is not None and tmux.kill("moot-qa")
                until("its socket file is removed", path.exists, lambda there: not there)
        finally:
            over.set()
        removing.result(60)


@pytest.mark.parametrize("mode", [BRACKETED, PLAIN])
def test_no_text_presses_a_key(tmux: Tmux, tmp_path: Path, mode: str) -> None:
    recorder = Recorder(tmux, tmp_path, "moot-qa", mode)

    tmux.type_line("moot-qa", HOSTILE)
    tmux.press_enter("moot-qa")

    got = recorder.got(lambda text: text.endswith("\r"))
    start, end = ("\x1b[200~", "\x1b[201~") if mode else ("", "")
    assert got == f"[{start}{typed(HOSTILE)}{end}\r"
    inside = got[1 + len(start) : -1 - len(end)]
    assert all(one.isprintable() or one == " " for one in inside)
    assert tmux.ask("list-buffers") == ""


@given(st.text())
def test_a_typed_text_is_one_line_without_controls(text: str) -> None:
    found = typed(text)
    assert len(found.splitlines()) <= 1
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in found)
    found.encode()


def test_typed_keeps_letters_of_all_scripts_and_joined_emoji() -> None:
    text = "naïve 日本語 عربى 👩‍👩‍👧 e\u0301"
    assert typed(text) == text
    assert typed("a\r\nb\n\nc") == f"a{LINE_BREAK}b{LINE_BREAK}{LINE_BREAK}c"


def test_a_long_line_arrives_whole(tmux: Tmux, tmp_path: Path) -> None:
    recorder = Recorder(tmux, tmp_path, "moot-qa", BRACKETED)
    text = "0123456789äöü€" * 4096
    tmux.type_line("moot-qa", text)
    assert recorder.got(lambda got: got.endswith("~")) == f"[\x1b[200~{text}\x1b[201~"


def test_enter_reaches_the_program_while_its_user_looks_at_earlier_output(tmux: Tmux, tmp_path: Path) -> None:
    recorder = Recorder(tmux, tmp_path, "moot-qa", PLAIN)
    tmux.ask("copy-mode", "-t", "=moot-qa:0.0")
    assert [one.in_mode for one in tmux.panes()] == [True]
    tmux.type_line("moot-qa", "hello")
    tmux.press_enter("moot-qa")
    assert recorder.got(lambda text: "\r" in text) == "[hello\r"


def test_sessions_are_found_by_their_whole_name(tmux: Tmux, tmp_path: Path) -> None:
    tmux.start(session_name("impl_a"), ["sleep", "1000"], folder=str(tmp_path))

    assert tmux.pane(session_name("impl")) is None and not tmux.kill(session_name("impl"))
    with pytest.raises(NotFound, match="moot-impl"):
        tmux.type_line(session_name("impl"), "text")
    assert [one.session for one in tmux.panes()] == ["moot-impl_a"]


@pytest.mark.parametrize("name", ["a b", "#(touch pwned)#{pid}", "%H;", "quote'\"`$(touch pwned)", "ünï"])
def test_a_folder_with_an_odd_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    tmux = Tmux(str(folder))
    tmux.start("moot-qa", ["sleep", "1000"], folder=str(folder), colour="cyan")
    try:
        pane = tmux.pane("moot-qa")
        assert pane is not None
        until("it is in its folder", Path("/proc", str(pane.pid), "cwd").readlink, folder.__eq__)
        assert os.listdir(folder) == []
    finally:
        tmux.kill("moot-qa")


def test_a_colour_is_a_colour_and_nothing_else(tmux: Tmux, tmp_path: Path) -> None:
    for colour in ("#(touch pwned)", "red,bg=blue", "", "#12345"):
        with pytest.raises(InvalidRequest, match="colour"):
            tmux.start("moot-qa", ["sleep", "1000"], folder=str(tmp_path), colour=colour)
    with pytest.raises(InvalidRequest, match="does not know the colour 'notacolour'"):
        tmux.start("moot-qa", ["sleep", "1000"], folder=str(tmp_path), colour="notacolour")
    assert tmux.panes() == []


def test_a_pane_says_how_its_program_ended(tmux: Tmux, tmp_path: Path) -> None:
    tmux.start("moot-a", ["sh", "-c", "echo last words; exit 3"], folder=str(tmp_path))
    tmux.start("moot-b", ["sh", "-c", "kill -9 $$"], folder=str(tmp_path))
    # tmux may know the exit status before it has read the last output; after that the pane is dead.
    panes = until("both have ended", tmux.panes, lambda found: all(one.dead and one.exit_status for one in found))
    assert [one.exit_status for one in panes] == [3, -9]
    until("its output is shown", lambda: tmux.screen("moot-a"), lambda screen: "last words" in screen)
    with pytest.raises(HostCommandFailed, match="duplicate session"):
        tmux.start("moot-a", ["true"], folder=str(tmp_path))
