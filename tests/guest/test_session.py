"""The supervisor of sessions as a black box: compiled, run on this host, read by guest/SESSIONS.md."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guest.conftest import compile_as_shipped, compile_sanitized
from tests.waiting import until

DEADLINE = 20.0
MOST = 64


@dataclass(frozen=True)
class Status:
    """A status line, and what came after it."""

    ended: bool
    exit_code: int
    pid: int
    size: tuple[int, int]
    start: int
    first: tuple[int, int]
    end: tuple[int, int]
    output: bytes


@dataclass(frozen=True)
class Sessions:
    """The program and a folder of sessions."""

    program: Path
    folder: Path

    def run(
        self, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        argv = [str(self.program), str(self.folder), *words]
        return subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
            env=(env or {}) | {"PATH": os.defpath},
        )

    def ask(self, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> Status:
        done = self.run(*words, stdin=stdin, env=env)
        assert done.returncode == 0, done.stderr
        line, _, output = done.stdout.partition(b"\n")
        state, *numbers = line.split()
        code, pid, _, columns, rows, start, first0, end0, first1, end1 = map(int, numbers)
        ended = state == b"ended"
        return Status(ended, code, pid, (columns, rows), start, (first0, first1), (end0, end1), output)

    def terminal(self, name: str, *argv: str, size: int = 65536) -> Status:
        return self.ask("open", name, "terminal", "/", "80", "24", str(size), *argv)

    def pipes(self, name: str, *argv: str, size: int = 65536) -> Status:
        return self.ask("open", name, "pipes", "/", "0", "0", str(size), *argv)

    def idle(self, name: str, cursor: int = 0, *, stream: int = 0) -> Status:
        return self.ask("read", name, str(stream), str(cursor), "65536", "150", "10000")

    def until_end(self, name: str, *, stream: int = 0) -> Status:
        return self.ask("read", name, str(stream), "0", "65536", "15000", "15000")


@pytest.fixture(scope="module", params=[compile_as_shipped, compile_sanitized])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Once as it goes into a machine and once with gcc's sanitizers."""
    compiled: Path = request.param("session", tmp_path_factory.mktemp("session"))
    return compiled


@pytest.fixture
def sessions(program: Path, tmp_path: Path) -> Iterator[Sessions]:
    """No session is left at the end, and none of their processes."""
    made = Sessions(program, tmp_path / "s")
    yield made
    for line in made.run("list").stdout.splitlines():
        made.run("forget", line.split()[0].decode())
    assert made.run("list").stdout == b""


def test_what_is_typed_into_a_shell_is_run_by_it(sessions: Sessions) -> None:
    sessions.terminal("a", "sh")
    sessions.ask("write", "a", stdin=b"echo $((6 * 7)); tty -s && echo terminal\n")
    shown = sessions.idle("a").output
    assert b"42" in shown and b"terminal" in shown


def test_output_is_read_on_from_where_the_last_read_ended(sessions: Sessions) -> None:
    sessions.terminal("a", "cat")
    sessions.ask("write", "a", stdin=b"one\n")
    first = sessions.idle("a")
    sessions.ask("write", "a", stdin=b"two\n")
    second = sessions.idle("a", first.end[0])
    assert b"one" in first.output and b"one" not in second.output and b"two" in second.output
    assert second.start == first.end[0]


def test_of_much_output_the_last_part_is_kept_and_all_is_counted(sessions: Sessions) -> None:
    sessions.pipes("a", "sh", "-c", "seq 1 20000", size=4096)
    read = sessions.until_end("a")
    total = sum(len(str(number)) + 1 for number in range(1, 20001))
    assert read.end[0] == total and read.first[0] == total - 4096 == read.start
    assert read.output.endswith(b"19999\n20000\n") and len(read.output) == 4096


def test_pipes_keep_output_and_error_apart(sessions: Sessions) -> None:
    sessions.pipes("a", "sh", "-c", "echo out; echo err >&2")
    assert sessions.until_end("a").output == b"out\n"
    assert sessions.until_end("a", stream=1).output == b"err\n"


@pytest.mark.parametrize(("line", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_the_exit_code_says_how_it_ended(sessions: Sessions, line: str, code: int) -> None:
    sessions.pipes("a", "sh", "-c", line)
    read = sessions.until_end("a")
    assert (read.ended, read.exit_code) == (True, code)


def test_the_environment_is_the_openers(sessions: Sessions) -> None:
    words = ("open", "a", "pipes", "/", "0", "0", "4096", "sh", "-c", "echo $TOKEN")
    sessions.ask(*words, env={"TOKEN": "s3cret"})
    assert sessions.until_end("a").output == b"s3cret\n"


def test_a_resize_is_told_to_the_program(sessions: Sessions) -> None:
    sessions.terminal("a", "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    assert b"ready" in sessions.idle("a").output
    assert sessions.ask("resize", "a", "100", "40").size == (100, 40)
    assert b"40 100" in sessions.idle("a").output


def test_a_signal_reaches_the_foreground_only(sessions: Sessions) -> None:
    sessions.terminal("a", "sh", "-i")
    sessions.idle("a")
    sessions.ask("write", "a", stdin=b"sleep 100\n")
    sessions.idle("a")
    sessions.ask("signal", "a", "2")
    sessions.ask("write", "a", stdin=b"echo still $((1 + 1))\n")
    assert b"still 2" in sessions.idle("a").output


def test_a_stop_ends_also_what_left_the_group_and_what_does_not_listen(sessions: Sessions) -> None:
    forever = "while :; do sleep 0.05; done"
    line = f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; {forever}' & {forever}"
    sessions.pipes("a", "sh", "-c", line)
    other = int(sessions.idle("a").output)
    stopped = sessions.ask("stop", "a", "200")
    assert (stopped.ended, stopped.exit_code) == (True, 137)
    until(f"process {other} has ended", lambda: _has_ended(other), deadline_seconds=DEADLINE)


def _has_ended(pid: int) -> bool:
    """Return whether a process is gone, or a zombie: that one has no command line."""
    try:
        return not Path("/proc", str(pid), "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_polite_program_ends_by_itself_at_a_stop(sessions: Sessions) -> None:
    sessions.pipes("a", "sh", "-c", "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done")
    sessions.idle("a")
    assert sessions.ask("stop", "a", "10000").exit_code == 3
    assert sessions.until_end("a").output == b"bye\n"


def test_a_daemon_that_holds_the_pipe_does_not_hold_the_end_back(sessions: Sessions) -> None:
    sessions.pipes("a", "sh", "-c", "setsid sleep 300 & exit 4")
    assert sessions.until_end("a").exit_code == 4


def test_many_clients_at_once_are_all_answered(sessions: Sessions) -> None:
    sessions.terminal("a", "cat")
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: sessions.idle("a"), range(80)))
    assert len(answers) == 80


def test_a_client_that_is_killed_while_it_waits_costs_nothing(sessions: Sessions) -> None:
    opened = sessions.terminal("a", "cat")
    argv = [str(sessions.program), str(sessions.folder), "read", "a", "0", "0", "100", "60000", "60000"]
    waiting = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for _ in range(30)]
    for one in waiting:
        one.kill()
        one.wait(DEADLINE)
    assert sessions.ask("status", "a").pid == opened.pid


def test_a_client_that_leaves_before_it_asks_costs_no_time(sessions: Sessions) -> None:
    opened = sessions.terminal("a", "cat")
    sessions.idle("a")
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(sessions.folder / "a"))
    supervisor = Path("/proc", Path("/proc", str(opened.pid), "stat").read_text().rpartition(")")[2].split()[1], "stat")
    before = used_ticks(supervisor)
    sessions.ask("read", "a", "0", "0", "10", "800", "800")
    assert used_ticks(supervisor) - before < 20


def used_ticks(stat: Path) -> int:
    """Clock ticks of processor time that a process has used: proc(5)."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


THREADED = """
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *stay(void *unused) { for (;;) pause(); }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, stay, NULL);
    puts("up");
    fflush(stdout);
    pthread_exit(NULL);
}
"""


def test_a_program_whose_first_thread_has_ended_is_stopped_too(sessions: Sessions, tmp_path: Path) -> None:
    build = ["gcc", "-x", "c", "-", "-pthread", "-w", "-o", str(tmp_path / "threaded")]
    subprocess.run(build, input=THREADED.encode(), check=True, timeout=60)
    sessions.pipes("a", str(tmp_path / "threaded"))
    assert b"up" in sessions.idle("a").output
    assert sessions.ask("stop", "a", "300").ended


def test_a_program_that_reads_nothing_is_told_of(sessions: Sessions) -> None:
    sessions.terminal("a", "sh", "-c", "stty raw -echo; echo ready; sleep 100")
    sessions.idle("a")
    done = sessions.run("write", "a", stdin=b"x" * 500_000)
    assert done.returncode == 7 and b"does not read" in done.stderr


def test_attached_a_terminal_is_typed_into_and_shown_until_the_program_ends(sessions: Sessions) -> None:
    sessions.terminal("a", "sh")
    argv = [str(sessions.program), str(sessions.folder), "attach", "a", "0"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"echo $((40 + 2))\nexit 5\n")
        attached.stdin.flush()
        assert b"42" in attached.stdout.read()
        assert attached.wait(DEADLINE) == 0
    assert sessions.until_end("a").exit_code == 5


def test_whoever_leaves_an_attached_terminal_leaves_it_running(sessions: Sessions) -> None:
    sessions.terminal("a", "sh")
    assert sessions.run("attach", "a", "0", stdin=b"echo $((40 + 2))\n").returncode == 0
    assert b"42" in sessions.idle("a").output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["read", "nobody", "0", "0", "1", "0", "0"], 2, b"no such session"),
        (["open", "a/b", "pipes", "/", "0", "0", "4096", "true"], 1, b"not a name"),
        (["open", "..", "pipes", "/", "0", "0", "4096", "true"], 1, b"not a name"),
        (["open", "a", "pipes", "/nowhere", "0", "0", "4096", "true"], 4, b"cannot enter /nowhere"),
        (["open", "a", "pipes", "/", "0", "0", "4096", "no-such-program"], 127, b"cannot execute"),
        (["open", "a", "pipes", "/", "0", "0", "4096", "/etc/passwd"], 126, b"cannot execute"),
        (["open", "a", "pipes", "/", "0", "0", "1", "true"], 1, b"can be kept"),
        (["open", "a", "pipes", "/", "0", "0", "99999999999999999999", "true"], 1, b"not a number"),
        (["dance", "a"], 2, b"usage"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    sessions: Sessions, words: list[str], code: int, said: bytes
) -> None:
    done = sessions.run(*words)
    assert done.returncode == code and said in done.stderr
    assert sessions.run("list").stdout == b""


def test_a_name_is_given_once(sessions: Sessions) -> None:
    sessions.pipes("a", "sleep", "100")
    assert sessions.run("open", "a", "pipes", "/", "0", "0", "4096", "true").returncode == 3


def _supervisor_of(opened: Status) -> int:
    return int(Path("/proc", str(opened.pid), "stat").read_text().rpartition(")")[2].split()[1])


def _kill(*pids: int) -> None:
    """Kill processes and wait until they have ended."""
    watched = [os.pidfd_open(pid) for pid in pids]
    for pid, watch in zip(pids, watched, strict=True):
        os.kill(pid, signal.SIGKILL)
        assert select.select([watch], [], [], DEADLINE)[0]
        os.close(watch)


def test_a_supervisor_that_was_killed_is_forgotten_by_the_list(sessions: Sessions) -> None:
    opened = sessions.pipes("a", "sleep", "100")
    _kill(_supervisor_of(opened), opened.pid)
    assert sessions.run("list").stdout == b""


def test_the_name_of_a_killed_supervisor_can_be_taken_again(sessions: Sessions) -> None:
    opened = sessions.pipes("a", "sleep", "100")
    _kill(_supervisor_of(opened), opened.pid)
    assert sessions.pipes("a", "sleep", "100").pid != opened.pid


def test_a_supervisor_that_was_stopped_hides_no_other(sessions: Sessions) -> None:
    frozen = _supervisor_of(sessions.pipes("a", "sleep", "100"))
    sessions.pipes("b", "sleep", "100")
    os.kill(frozen, signal.SIGSTOP)
    try:
        assert [line.split()[0] for line in sessions.run("list").stdout.splitlines()] == [b"b"]
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert len(sessions.run("list").stdout.splitlines()) == 2


def test_a_list_never_drops_a_session_that_is_just_being_opened(sessions: Sessions) -> None:
    sessions.pipes("first", "sleep", "100")
    names = [f"s{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        opened = [pool.submit(sessions.pipes, name, "sleep", "100") for name in names]
        for listed in [pool.submit(sessions.run, "list") for _ in range(48)]:
            assert listed.result(DEADLINE).returncode == 0
        assert not [one.result(DEADLINE).ended for one in opened if one.result(DEADLINE).ended]
    assert len(sessions.run("list").stdout.splitlines()) == len(names) + 1


def test_stopped_sessions_make_room_for_new_ones_oldest_first(sessions: Sessions) -> None:
    sessions.pipes("first", "sh", "-c", "sleep 600")
    for number in range(MOST + 5):
        sessions.pipes(f"short{number}", "true")
        assert sessions.until_end(f"short{number}").ended
    names = [line.split()[0] for line in sessions.run("list").stdout.decode().splitlines()]
    assert len(names) == MOST
    assert "first" in names and not sessions.ask("status", "first").ended
    assert {name for name in names if name.startswith("short")} == {f"short{number}" for number in range(6, MOST + 5)}


def test_running_sessions_are_never_forgotten_for_new_ones(sessions: Sessions) -> None:
    for number in range(MOST):
        sessions.pipes(f"long{number}", "sleep", "600")
    refused = sessions.run("open", "more", "pipes", "/", "0", "0", "65536", "true")
    assert (refused.returncode, refused.stderr) == (5, b"64 sessions run already; end some\n")
    assert len(sessions.run("list").stdout.splitlines()) == MOST
    sessions.ask("stop", "long7", "0")
    assert not sessions.pipes("more", "sleep", "600").ended
    assert sessions.run("status", "long7").returncode == 2


def test_a_probe_finds_what_listens(sessions: Sessions) -> None:
    argv = ["python3", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", "/proc/self/net"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().split(b" port ")[1].split()[0].decode()
            probe = [str(sessions.program), "probe"]
            assert subprocess.run([*probe, "tcp", port], timeout=DEADLINE, check=False).returncode == 0
            asked = subprocess.run(
                [*probe, "http", port, "localhost", "/none"], capture_output=True, timeout=DEADLINE, check=True
            )
            assert asked.stdout == b"404\n"
        finally:
            server.kill()
    assert subprocess.run([*probe, "tcp", port], timeout=DEADLINE, check=False).returncode == 1
