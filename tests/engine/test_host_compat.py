"""Commands without a guest keep the promises of `Command` and `Outcome`."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.host_compat import HostCompat
from pyro_mcp.engine.interface import Command, Outcome, Shape, StartRequest
from pyro_mcp.errors import GuestGone, HostNotReady, HostToolMissing, InvalidRequest

PATH = {"PATH": "/usr/bin:/bin"}
DEADLINE = 20.0


class Machine:
    """A machine of the engine, and commands in it."""

    def __init__(self, home: Path) -> None:
        self.engine = HostCompat()
        self.sockets = home / "sockets"
        (home / "machine").mkdir(mode=0o700)
        self.workspace = home / "machine" / "workspace"
        request = StartRequest(None, Shape(), home / "machine", self.sockets, "name", 60.0)
        self.identity = self.engine.start(request).identity

    def run(self, *argv: str | bytes, **more: object) -> Outcome:
        with self.engine.connect(self.sockets) as session:
            return session.run(Command(argv, **{"environ": PATH} | more))  # type: ignore[arg-type]

    def shell(self, line: str, **more: object) -> Outcome:
        return self.run("sh", "-c", line, **more)


@pytest.fixture
def machine(home: Path) -> Machine:
    return Machine(home)


@pytest.fixture
def witness(machine: Machine) -> Iterator[int]:
    """The reading end of the FIFO /workspace/life: it reports end of file with the last process that opened it."""
    os.mkfifo(machine.workspace / "life")
    reader = os.open(machine.workspace / "life", os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    os.close(reader)


def last_words(witness: int) -> bytes:
    """What was written into the FIFO; raises `BlockingIOError` while some process still holds it open."""
    said = b""
    while piece := os.read(witness, 100):
        said += piece
    return said


@pytest.mark.parametrize(
    ("line", "code", "signal"),
    [
        ("true", 0, None),
        ("exit 3", 3, None),
        ("kill -KILL $$", 137, 9),
        ("kill -TERM $$", 143, 15),
        ("exit 255", 255, None),
    ],
)
def test_exit_codes_and_signals_are_the_commands(machine: Machine, line: str, code: int, signal: int | None) -> None:
    outcome = machine.shell(line)
    assert (outcome.exit_code, outcome.signal, outcome.timed_out) == (code, signal, False)


@pytest.mark.parametrize(
    ("program", "code"), [("/etc/passwd", 126), ("/usr", 126), ("no-such", 127), ("/no/such", 127)]
)
def test_a_program_that_does_not_start_is_126_or_127_and_says_why(machine: Machine, program: str, code: int) -> None:
    outcome = machine.run(program)
    assert (outcome.exit_code, outcome.signal) == (code, None)
    assert program.encode() in outcome.stderr


def test_an_argument_too_long_for_the_kernel_is_126(machine: Machine) -> None:
    outcome = machine.run("true", "x" * 200_000)
    assert (outcome.exit_code, outcome.stderr) == (126, b"pyro: Argument list too long\n")


@pytest.mark.parametrize("program", ["a=b", "-x"])
def test_a_program_may_have_an_odd_name(machine: Machine, program: str) -> None:
    (machine.workspace / program).symlink_to("/bin/echo")
    outcome = machine.run(program, "ran", environ={"PATH": "/workspace"})
    assert (outcome.exit_code, outcome.stdout) == (0, b"ran\n")


def test_the_time_limit_is_124_and_kills_every_process(machine: Machine, witness: int) -> None:
    line = "exec 3>/workspace/life; echo here >&3; (trap '' TERM HUP; setsid sleep 50) & sleep 50"
    outcome = machine.shell(line, timeout_seconds=0.5)
    assert (outcome.exit_code, outcome.timed_out, outcome.signal) == (124, True, 9)
    assert last_words(witness) == b"here\n"


def test_a_background_child_does_not_delay_the_end(machine: Machine, witness: int) -> None:
    outcome = machine.shell("exec 3>/workspace/life; echo here >&3; sleep 50 & echo started")
    assert (outcome.exit_code, outcome.stdout) == (0, b"started\n")
    assert outcome.duration_ms < 20_000
    assert last_words(witness) == b"here\n"


def test_bytes_survive_both_ways(machine: Machine) -> None:
    data = bytes(range(256)) * 4096
    assert machine.run("cat", stdin=data).stdout == data


def test_input_may_be_a_file(machine: Machine, home: Path) -> None:
    (home / "input").write_bytes(b"from a file\0")
    with (home / "input").open("rb") as file:
        assert machine.run("cat", stdin=file).stdout == b"from a file\0"


def test_a_command_that_does_not_read_ends_while_its_input_stays_open(machine: Machine) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe, open(writer, "wb"):
        assert machine.run("true", stdin=pipe).exit_code == 0
    assert machine.run("true", stdin=bytes(1_000_000)).exit_code == 0


def test_without_input_a_command_reads_end_of_file(machine: Machine) -> None:
    assert machine.run("cat").stdout == b""


def test_output_over_the_cap_is_cut_counted_and_passed_on(machine: Machine) -> None:
    out: list[bytes] = []
    err: list[bytes] = []
    line = "head -c 300000 /dev/zero; echo oops >&2"
    outcome = machine.shell(line, output_cap=1000, on_stdout=out.append, on_stderr=err.append)
    assert (len(outcome.stdout), outcome.stdout_bytes, outcome.truncated) == (1000, 300_000, True)
    assert (sum(map(len, out)), b"".join(err), outcome.stderr) == (300_000, b"oops\n", b"oops\n")


def test_an_error_in_a_callback_ends_the_command(machine: Machine, witness: int) -> None:
    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        machine.shell("exec 3>/workspace/life; echo here >&3; yes", on_stdout=fail)
    assert last_words(witness) == b"here\n"


def test_the_environment_is_what_was_given_and_no_more(machine: Machine) -> None:
    given = {"PATH": "/usr/bin", "A B": "x=y\n", "EMPTY": "", "-odd": os.fsdecode(b"\xff")}
    outcome = machine.run("env", "-0", environ=given)
    assert set(outcome.stdout.split(b"\0")) == {b"PATH=/usr/bin", b"A B=x=y\n", b"EMPTY=", b"-odd=\xff", b""}


def test_200_kilobytes_of_environment_work(machine: Machine) -> None:
    many = {f"VARIABLE_{number}": "x" * 1000 for number in range(200)} | PATH
    assert machine.run("env", "-0", environ=many).stdout.count(b"\0") == 201


def test_the_same_is_refused_as_by_a_guest(machine: Machine) -> None:
    for bad in (
        Command([]),
        Command(["a\0b"]),
        Command(["true"], environ={"A=B": ""}),
        Command(["true"], cwd="/nowhere"),
    ):
        with machine.engine.connect(machine.sockets) as session, pytest.raises(InvalidRequest):
            session.run(bad)


def test_a_command_starts_in_the_folder_that_was_asked_for(machine: Machine) -> None:
    assert machine.run("pwd").stdout == b"/workspace\n"
    assert machine.run("pwd", cwd="/usr/bin").stdout == b"/usr/bin\n"


def test_the_workspace_stays_from_command_to_command(machine: Machine) -> None:
    assert machine.shell("echo kept > file; mkdir folder").exit_code == 0
    assert machine.shell("cat file; ls -d folder").stdout == b"kept\nfolder\n"


def test_two_machines_have_workspaces_apart(machine: Machine, home: Path) -> None:
    (home / "other").mkdir()
    other = Machine(home / "other")
    machine.shell("touch mine")
    assert other.run("ls").stdout == b""


def test_the_rest_of_the_host_is_read_only_or_hidden(machine: Machine, home: Path) -> None:
    (home / "secret").write_text("secret")
    hidden = f"ls {home} /home /root/.[!.]* /var /etc/shadow /sys; ls -A /tmp /root"
    outcome = machine.shell(hidden)
    assert b"secret" not in outcome.stdout
    assert outcome.stderr.count(b"No such file") == 6
    assert outcome.stdout.split() == [b"/root:", b"/tmp:"]
    assert machine.shell("touch /usr/file || touch /etc/passwd || touch /bin/file").exit_code == 1


def test_there_is_no_network(machine: Machine) -> None:
    outcome = machine.shell("tail -n +3 /proc/net/dev | cut -d: -f1")
    assert outcome.stdout.split() == [b"lo"]


def test_no_process_of_the_host_is_seen_and_no_capability_is_held(machine: Machine) -> None:
    outcome = machine.shell("echo /proc/[0-9]*; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status")
    processes, *rights = outcome.stdout.decode().splitlines()
    assert len(processes.split()) <= 4
    assert {line.split()[1].lstrip("0") for line in rights if line.startswith("Cap")} == {""}
    assert "NoNewPrivs:\t1" in rights


def test_an_ended_machine_is_gone_and_ending_it_twice_is_a_no_op(machine: Machine) -> None:
    machine.engine.kill(machine.identity, machine.sockets)
    machine.engine.kill(machine.identity, machine.sockets)
    with pytest.raises(GuestGone), machine.engine.connect(machine.sockets):
        pass


def test_a_machine_that_starts_again_has_its_workspace(home: Path, machine: Machine) -> None:
    machine.shell("echo kept > file")
    machine.engine.power_off(machine.identity, machine.sockets, lambda: None)
    machine.engine.start(StartRequest(None, Shape(), home / "machine", machine.sockets, "name", 60.0))
    assert machine.run("cat", "file").stdout == b"kept\n"


def test_without_bubblewrap_nothing_starts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home))
    with pytest.raises(HostToolMissing) as raised:
        Machine(home)
    assert "bubblewrap" in raised.value.hint


def test_where_bubblewrap_fails_the_command_is_refused(
    machine: Machine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "bwrap").write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    (home / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:/usr/bin")
    with pytest.raises(HostNotReady, match="No permissions to create new namespace"):
        machine.run("true")


def test_running_leaves_no_descriptor_open(machine: Machine) -> None:
    machine.run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        machine.run("cat", stdin=b"x")
        machine.run("no-such-program")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_command_leaves_no_zombie(machine: Machine) -> None:
    machine.run("true")
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert "bwrap\n" not in [Path(f"/proc/{child}/comm").read_text() for child in children]
