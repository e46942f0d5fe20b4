"""Shells in real machines, through the SDK."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, Interrupted, InvalidRequest, NotFound
from tests.waiting import until

DEADLINE = 30.0


@pytest.fixture
def workspace(pyro: Pyro) -> Iterator[str]:
    """A running workspace with a secret."""
    secrets = [{"name": "TOKEN", "value": "hunter2-and-more"}]
    id_ = pyro.create_workspace("debian:12", secrets=secrets)["workspace_id"]
    yield id_
    pyro.delete_workspace(id_)


def seen(pyro: Pyro, id_: str, shell_id: str, cursor: int = 0) -> str:
    """Return what a person sees once the shell is silent."""
    return pyro.read_shell(id_, shell_id, cursor=cursor, plain=True, wait_for_idle_ms=300)["output"]


def until_seen(pyro: Pyro, id_: str, shell_id: str, text: str, cursor: int = 0) -> list[str]:
    """Wait until a person sees `text`, and return the lines on the screen."""
    look = partial(seen, pyro, id_, shell_id, cursor)
    return until(f"{text!r} is on the screen", look, lambda shown: text in shown).splitlines()


def test_a_shell_keeps_its_state_between_calls_and_clients(pyro: Pyro, workspace: str) -> None:
    opened = pyro.open_shell(workspace, cols=100, rows=40)
    shell_id = opened["shell_id"]
    assert (opened["state"], opened["cols"], opened["rows"], opened["cwd"]) == ("running", 100, 40, "/workspace")
    seen(pyro, workspace, shell_id)
    pyro.write_shell(workspace, shell_id, input="cd /tmp; PLACE=here")
    Pyro().write_shell(workspace, shell_id, input="pwd; echo $PLACE; stty size; tty")
    lines = seen(Pyro(), workspace, shell_id).splitlines()
    assert lines[-5:-1] == ["/tmp", "here", "40 100", "/dev/pts/0"]
    assert [one["shell_id"] for one in pyro.list_shells(workspace)["shells"]] == [shell_id]
    assert pyro.close_shell(workspace, shell_id)["closed"]
    with pytest.raises(NotFound, match="there is no shell"):
        pyro.read_shell(workspace, shell_id)


def test_reading_goes_on_where_the_last_read_ended_also_within_a_character(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    first = pyro.read_shell(workspace, shell_id, wait_for_idle_ms=300)
    pyro.write_shell(workspace, shell_id, input=r"printf '\303'; sleep 1; printf '\251t\303\251\n'")
    reads = [first]

    def output() -> str:
        """Read on, and return everything read so far."""
        cursor = reads[-1]["next_cursor"]
        reads.append(pyro.read_shell(workspace, shell_id, cursor=cursor, wait_for_idle_ms=100))
        return "".join(read["output"] for read in reads[1:])

    shown = until("both characters are read", output, lambda text: "été" in text)
    assert "\N{REPLACEMENT CHARACTER}" not in shown


def test_a_full_screen_program_is_seen_as_its_screen(pyro: Pyro, workspace: str) -> None:
    program = (
        "import sys, tty, termios\n"
        "before = termios.tcgetattr(0)\n"
        "tty.setraw(0)\n"
        "print('\\x1b[?1049h\\x1b[2J\\x1b[3;5Hmenu', end='', flush=True)\n"
        "while (key := sys.stdin.read(1)) != 'q':\n"
        "    print(f'\\x1b[5;1H\\x1b[Kpressed {key}', end='', flush=True)\n"
        "print('\\x1b[?1049l', end='', flush=True)\n"
        "termios.tcsetattr(0, termios.TCSANOW, before)\n"
    )
    pyro.write_workspace_file(workspace, "full.py", text=program)
    shell_id = pyro.open_shell(workspace, cols=40, rows=10)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="python3 full.py")
    assert until_seen(pyro, workspace, shell_id, "    menu")[2] == "    menu"
    cursor = pyro.read_shell(workspace, shell_id)["next_cursor"]
    pyro.write_shell(workspace, shell_id, input="x", append_newline=False)
    assert until_seen(pyro, workspace, shell_id, "pressed", cursor) == ["", "", "    menu", "", "pressed x"]
    pyro.write_shell(workspace, shell_id, input="q", append_newline=False)
    assert "    menu" not in until_seen(pyro, workspace, shell_id, "full.py")


def test_a_signal_interrupts_what_runs_and_leaves_the_shell(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="sleep 1000")
    seen(pyro, workspace, shell_id)
    assert pyro.signal_shell(workspace, shell_id)["signal"] == "INT"
    pyro.write_shell(workspace, shell_id, input="echo alive $?")
    assert "alive 130" in seen(pyro, workspace, shell_id)


def test_a_shell_that_ended_says_so(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="exit 9")
    read = pyro.read_shell(workspace, shell_id, wait_for_idle_ms=5000)
    assert (read["state"], read["exit_code"]) == ("exited", 9)
    with pytest.raises(Conflict, match="ended"):
        pyro.write_shell(workspace, shell_id, input="echo")


def test_a_command_runs_on_the_terminal_instead_of_a_shell(pyro: Pyro, workspace: str) -> None:
    program = "import os, shutil; print(os.ttyname(0), shutil.get_terminal_size().columns, input('name? ')); exit(7)"
    shell_id = pyro.open_shell(workspace, command=["python3", "-c", program], cols=90, cwd="/tmp")["shell_id"]
    until_seen(pyro, workspace, shell_id, "name?")
    pyro.write_shell(workspace, shell_id, input="agent")
    read = pyro.read_shell(workspace, shell_id, plain=True, wait_for_idle_ms=20_000)
    assert read["output"].splitlines()[1:] == ["/dev/pts/0 90 agent"]
    ended = pyro.list_shells(workspace)["shells"][0]
    assert (read["exit_code"], ended["state"], ended["exit_code"]) == (7, "exited", 7)


def test_a_line_is_run_by_a_shell_of_its_own_and_a_signal_ends_it(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace, command="echo ready | cat; exec sleep 1000")["shell_id"]
    until_seen(pyro, workspace, shell_id, "ready")
    pyro.signal_shell(workspace, shell_id)
    assert pyro.read_shell(workspace, shell_id, wait_for_idle_ms=20_000)["exit_code"] == 128 + 2


def test_the_command_line_opens_a_program_too(pyro: Pyro, workspace: str) -> None:
    words = ["workspace", "shell", "open", workspace, "--id-only", "--", "sh", "-c", "exit 3"]
    command = [sys.executable, "-m", "pyro_mcp.cli", *words]
    shell_id = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    assert pyro.read_shell(workspace, shell_id, wait_for_idle_ms=20_000)["exit_code"] == 3


@pytest.mark.parametrize("command", [[], ["no-such-program"], ["/etc/passwd"]])
def test_a_command_that_cannot_be_started_is_an_error(pyro: Pyro, workspace: str, command: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        pyro.open_shell(workspace, command=command)
    assert pyro.list_shells(workspace)["count"] == 0


def test_the_oldest_of_too_much_output_is_dropped_and_the_result_says_so(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="seq 1 300000; echo the end")
    look = partial(pyro.read_shell, workspace, shell_id, wait_for_idle_ms=1000)
    read = until("output is dropped", look, lambda read: read["dropped_bytes"])
    assert read["truncated"] and read["cursor"] == read["dropped_bytes"] > 500_000


def silenced(pyro: Pyro, id_: str, shell_id: str) -> int:
    """Let a shell print neither a prompt nor what is typed; return the cursor from which on its output begins."""
    pyro.write_shell(id_, shell_id, input="stty -echo; PS1=; echo SILENT''")
    look = partial(pyro.read_shell, id_, shell_id, wait_for_idle_ms=300)
    return until("the shell is silent", look, lambda read: re.search(r"SILENT\r?\n", read["output"]))["next_cursor"]


SECRET = "hunter2-and-more"  # noqa: S105 - the one of the fixture


@pytest.mark.parametrize(
    "line",
    [
        "echo $KEY | grep --color=always and",
        r'echo $KEY | sed "s/./&\x08&/g"',
        r'printf "%s\033[0m%s\n" ${KEY:0:7} ${KEY:7}',
        r'printf "%076d%s\n" 0 $KEY',
        r'printf "\033[?1049h\033[5;5H%s\033[5;12H%s" ${KEY:0:7} ${KEY:7}; sleep 100',
    ],
)
def test_a_secret_is_not_seen_however_it_is_drawn(pyro: Pyro, workspace: str, line: str) -> None:
    shell_id = pyro.open_shell(workspace, secret_env={"TOKEN": "KEY"})["shell_id"]
    pyro.write_shell(workspace, shell_id, input=line)
    shown = "\n".join(until_seen(pyro, workspace, shell_id, "[secret TOKEN]"))
    assert SECRET not in shown.replace("\n", "")


def test_the_rest_of_a_secret_whose_beginning_was_dropped_is_not_shown(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace, secret_env={"TOKEN": "KEY"})["shell_id"]
    pyro.write_shell(workspace, shell_id, input="stty -onlcr; for i in $(seq 70000); do echo $KEY; done; echo DO''NE")
    cursor = 0

    def last_output() -> str:
        """Read on, and return the end of what was read."""
        nonlocal cursor
        read = pyro.read_shell(workspace, shell_id, cursor=cursor, max_chars=1 << 20, wait_for_idle_ms=200)
        cursor = read["next_cursor"]
        return read["output"][-100:]

    until("the loop has ended", last_output, lambda end: "DONE" in end, deadline_seconds=120)
    for cut in range(len(SECRET)):
        pyro.write_shell(workspace, shell_id, input="echo")
        read = pyro.read_shell(workspace, shell_id, max_chars=100, wait_for_idle_ms=100)
        assert read["dropped_bytes"] > 0
        assert not [end for end in range(4, len(SECRET)) if SECRET[-end:] in read["output"]], (cut, read)


@pytest.mark.parametrize("most", [1, 2, 3, 17])
def test_small_reads_reach_the_end_of_the_output_too(pyro: Pyro, workspace: str, most: int) -> None:
    shell_id = pyro.open_shell(workspace, secret_env={"TOKEN": "KEY"})["shell_id"]
    cursor = silenced(pyro, workspace, shell_id)
    pyro.write_shell(workspace, shell_id, input=r"printf '\303\251t\303\251 %s END\n' $KEY; exec sleep 9")
    whole = pyro.read_shell(workspace, shell_id, cursor=cursor, wait_for_idle_ms=1000)
    parts = ""
    while cursor < whole["next_cursor"]:
        read = pyro.read_shell(workspace, shell_id, cursor=cursor, max_chars=most)
        assert read["next_cursor"] > cursor and read["truncated"] == (read["next_cursor"] < whole["next_cursor"])
        parts, cursor = parts + read["output"], read["next_cursor"]
    assert parts == whole["output"] and "été [secret TOKEN] END" in parts


def test_a_secret_is_masked_also_when_reads_cut_it_in_two(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace, secret_env={"TOKEN": "KEY"})["shell_id"]
    start = silenced(pyro, workspace, shell_id)
    pyro.write_shell(workspace, shell_id, input="printf 'this is the key=%s.\\n' $KEY")
    whole = pyro.read_shell(workspace, shell_id, cursor=start, wait_for_idle_ms=500)
    assert "key=[secret TOKEN]." in whole["output"]
    for cursor in range(start, whole["next_cursor"]):
        for most in (4, 12):
            part = pyro.read_shell(workspace, shell_id, cursor=cursor, max_chars=most)["output"]
            assert not any(piece in part for piece in ("hunt", "unte", "nter", "ter2", "r2-a", "-and", "more"))


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda pyro, id_: pyro.open_shell(id_, cols=0), InvalidRequest),
        (lambda pyro, id_: pyro.open_shell(id_, cwd="/nowhere"), InvalidRequest),
        (lambda pyro, id_: pyro.open_shell(id_, secret_env=["NONE"]), NotFound),
        (lambda pyro, id_: pyro.read_shell(id_, "shell-000000000000"), NotFound),
        (lambda pyro, id_: pyro.read_shell(id_, "../../etc"), InvalidRequest),
        (lambda pyro, _: pyro.read_shell("ws-000000000000", "shell-000000000000"), NotFound),
    ],
)
def test_invalid_arguments_are_refused(pyro: Pyro, workspace: str, call: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(pyro, workspace)  # type: ignore[operator]


def test_a_person_may_type_into_it_and_leave(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    reading, writing = os.pipe()
    shown = bytearray()

    def show(data: bytes) -> None:
        shown.extend(data)
        if b"42" in shown and not closed:
            closed.append(True)
            os.close(writing)

    closed: list[bool] = []
    os.write(writing, b"echo $((40 + 2))\n")
    with open(reading, "rb") as keys:
        assert pyro.attach_shell(workspace, shell_id, stdin=keys, on_output=show)["state"] == "running"


def test_a_person_leaves_also_a_program_that_reads_nothing(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="stty raw -echo; echo begun; sleep 600")
    until_seen(pyro, workspace, shell_id, "\nbegun")
    terminal, far_end = pty.openpty()
    command = [sys.executable, "-m", "pyro_mcp.cli", "workspace", "shell", "attach", workspace, shell_id]
    with subprocess.Popen(command, stdin=far_end, stdout=far_end, stderr=far_end) as person:
        os.close(far_end)
        shown, end = b"", time.monotonic() + DEADLINE
        while b"begun\n" not in shown and time.monotonic() < end and select.select([terminal], [], [], DEADLINE)[0]:
            shown += os.read(terminal, 4096)
        assert b"begun\n" in shown
        for _ in range(512):
            os.write(terminal, b"x" * 1024)
        os.write(terminal, b"\x1d")
        try:
            assert person.wait(DEADLINE) == 0
        finally:
            person.kill()
    os.close(terminal)
    assert pyro.list_shells(workspace)["count"] == 1


def test_a_read_that_waits_can_be_interrupted(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.write_shell(workspace, shell_id, input="while :; do echo on; sleep 0.1; done")
    interrupt = os.eventfd(1)
    started = time.monotonic()
    with pytest.raises(Interrupted):
        pyro.read_shell(workspace, shell_id, wait_for_idle_ms=20_000, interrupt=interrupt)
    assert time.monotonic() - started < 15
    os.close(interrupt)
    assert pyro.read_shell(workspace, shell_id)["exit_code"] is None


def test_a_stop_and_a_reset_end_shells(pyro: Pyro, workspace: str) -> None:
    shell_id = pyro.open_shell(workspace)["shell_id"]
    pyro.reset_workspace(workspace)
    assert pyro.list_shells(workspace)["count"] == 0
    with pytest.raises(NotFound):
        pyro.write_shell(workspace, shell_id, input="echo")
    pyro.stop_workspace(workspace)
    with pytest.raises(Conflict, match="stopped"):
        pyro.open_shell(workspace)
