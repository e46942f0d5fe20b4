"""The host's conversation with the real agent, which runs on this host: no machine, the same program."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.interface import Command
from pyro_mcp.engine.slots import connected
from pyro_mcp.errors import GuestFailed, GuestGone, InvalidRequest
from pyro_mcp.guest_protocol.frames import INPUT_WINDOW

PATH = {"PATH": "/usr/bin:/bin"}
MORE_THAN_THE_WINDOW = bytes(range(256)) * (3 * INPUT_WINDOW // 256) + b"end"


def command(*argv: str | bytes, **more: object) -> Command:
    return Command(argv, **{"cwd": "/", "environ": PATH} | more)  # type: ignore[arg-type]


def shell(line: str, **more: object) -> Command:
    return command("sh", "-c", line, **more)


@pytest.fixture
def silent_pipe() -> Iterator[io.FileIO]:
    """The reading end of a pipe that says nothing and never closes."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as pipe, open(writer, "wb"):
        yield pipe


def test_the_greeting_tells_the_agents_build(guest: GuestConnection) -> None:
    assert len(guest.hello(deadline_seconds=20)) == 12


def test_streams_are_apart_and_bytes_survive(guest: GuestConnection) -> None:
    outcome = guest.run(shell(r"printf '\000\377out'; printf '\376err' >&2; exit 3"))
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (3, b"\0\xffout", b"\xfeerr")
    assert (outcome.timed_out, outcome.signal, outcome.truncated) == (False, None, False)


@pytest.mark.parametrize(("argv", "code"), [(["/etc/passwd"], 126), (["no-such-program"], 127)])
def test_a_program_that_does_not_start_says_why(guest: GuestConnection, argv: list[str], code: int) -> None:
    outcome = guest.run(command(*argv))
    assert (outcome.exit_code, outcome.signal) == (code, None)
    assert outcome.stderr.startswith(b"pyro: ")
    assert outcome.stderr_bytes == len(outcome.stderr)


def test_a_signal_is_128_and_its_number(guest: GuestConnection) -> None:
    outcome = guest.run(shell("kill -TERM $$"))
    assert (outcome.exit_code, outcome.signal, outcome.timed_out) == (143, 15, False)


def test_the_time_limit_is_124_and_told(guest: GuestConnection) -> None:
    outcome = guest.run(shell("echo before; read never </dev/zero", timeout_seconds=0.3))
    assert (outcome.exit_code, outcome.timed_out, outcome.stdout) == (124, True, b"before\n")


def test_a_time_limit_below_a_millisecond_is_still_one(guest: GuestConnection) -> None:
    assert guest.run(shell("read never </dev/zero", timeout_seconds=0.0001)).timed_out


def test_commands_run_one_after_another_on_one_connection(guest: GuestConnection) -> None:
    assert [guest.run(shell(f"exit {code}")).exit_code for code in (1, 0, 255)] == [1, 0, 255]


@pytest.mark.parametrize("size", [0, 1, INPUT_WINDOW, len(MORE_THAN_THE_WINDOW)])
def test_input_from_memory_arrives_whole(guest: GuestConnection, size: int) -> None:
    data = MORE_THAN_THE_WINDOW[:size]
    assert guest.run(command("cat", stdin=data)).stdout == data


def test_input_from_a_file_arrives_whole(guest: GuestConnection, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(MORE_THAN_THE_WINDOW)
    with (tmp_path / "input").open("rb") as file:
        assert guest.run(command("cat", stdin=file)).stdout == MORE_THAN_THE_WINDOW


def test_a_command_that_does_not_read_ends_while_its_input_stays_open(
    guest: GuestConnection, silent_pipe: io.FileIO
) -> None:
    assert guest.run(command("true", stdin=silent_pipe)).exit_code == 0
    assert guest.run(command("true")).exit_code == 0


def test_a_command_that_reads_little_of_much_input_ends(guest: GuestConnection) -> None:
    outcome = guest.run(command("head", "-c", "3", stdin=MORE_THAN_THE_WINDOW))
    assert (outcome.exit_code, outcome.stdout) == (0, b"\0\1\2")
    assert guest.run(command("cat", stdin=b"next")).stdout == b"next"


def test_without_input_a_command_reads_end_of_file(guest: GuestConnection) -> None:
    assert guest.run(command("cat")).stdout == b""


def test_output_over_the_cap_is_cut_counted_and_passed_on(guest: GuestConnection) -> None:
    seen: list[bytes] = []
    line = "head -c 3000000 /dev/zero; printf oops >&2"
    outcome = guest.run(shell(line, output_cap=1000, on_stdout=seen.append))
    assert (len(outcome.stdout), outcome.stdout_bytes, outcome.truncated) == (1000, 3_000_000, True)
    assert (outcome.stderr, outcome.stderr_bytes) == (b"oops", 4)
    assert sum(map(len, seen)) == 3_000_000
    assert all(seen)


def test_output_of_exactly_the_cap_is_not_truncated(guest: GuestConnection) -> None:
    outcome = guest.run(command("head", "-c", "1000", "/dev/zero", output_cap=1000))
    assert (outcome.stdout, outcome.truncated) == (bytes(1000), False)


def test_each_stream_has_its_own_callback(guest: GuestConnection) -> None:
    out: list[bytes] = []
    err: list[bytes] = []
    guest.run(shell("echo out; echo err >&2", on_stdout=out.append, on_stderr=err.append))
    assert (b"".join(out), b"".join(err)) == (b"out\n", b"err\n")


def test_the_environment_is_what_was_given_and_no_more(guest: GuestConnection) -> None:
    given = {"PATH": "/usr/bin", "A B": "x=y\n", "EMPTY": "", "odd-name": os.fsdecode(b"\xff")}
    outcome = guest.run(command("env", "-0", environ=given))
    assert set(outcome.stdout.split(b"\0")) == {b"PATH=/usr/bin", b"A B=x=y\n", b"EMPTY=", b"odd-name=\xff", b""}


def test_200_kilobytes_of_environment_work(guest: GuestConnection) -> None:
    many = {f"VARIABLE_{number}": "x" * 1000 for number in range(200)} | PATH
    assert guest.run(command("env", "-0", environ=many)).stdout.count(b"\0") == 201


def test_arguments_are_bytes(guest: GuestConnection) -> None:
    assert guest.run(command("printf", "%s", b"\xff\xfe\n")).stdout == b"\xff\xfe\n"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (command(), "no command"),
        (command(""), "no command"),
        (command("echo", "a\0b"), "NUL"),
        (command("true", cwd="/\0"), "NUL"),
        (command("true", environ={"A": "\0"}), "NUL"),
        (command("true", environ={"A=B": "c"}), "'='"),
        (command("true", environ={"": "c"}), "empty"),
        (command("echo", "\ud800"), "text"),
        (command("true", cwd="/\ud800"), "text"),
        (command("echo", "x" * (1 << 20)), "1 MiB"),
        (command("true", environ={"A": "x" * (1 << 20)}), "1 MiB"),
        (command("true", cwd="/nowhere"), "No such file"),
    ],
)
def test_what_no_program_can_be_given_is_refused_and_the_connection_stays(
    guest: GuestConnection, bad: Command, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        guest.run(bad)
    assert guest.run(command("true")).exit_code == 0


def test_requests_that_only_a_machine_can_serve_are_refused_clearly(guest: GuestConnection) -> None:
    with pytest.raises(GuestFailed, match="refused"):
        guest.setup(hostname="x", files={"/etc/x": (0o644, b"")})


def test_two_clients_share_a_machine(sockets: Path) -> None:
    with connected(sockets) as one, connected(sockets) as two:
        assert (one.run(shell("exit 1")).exit_code, two.run(shell("exit 2")).exit_code) == (1, 2)
        with pytest.raises(GuestGone), connected(sockets):  # there is no third port
            pass


def test_a_slot_serves_one_client_after_another(sockets: Path) -> None:
    for code in (1, 2, 3):
        with connected(sockets) as guest:
            assert guest.run(shell(f"exit {code}")).exit_code == code
    assert (sockets / "0.lock").read_bytes() == b"0"
    assert not (sockets / "1.lock").exists()


def test_a_slot_survives_a_client_that_gave_up_on_a_long_command(sockets: Path) -> None:
    def give_up(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), connected(sockets) as guest:
        guest.run(shell("yes", on_stdout=give_up))
    with connected(sockets) as guest:
        assert guest.run(command("echo", "mine")).stdout == b"mine\n"


_DYING_CLIENT = """
import sys
from pathlib import Path
from pyro_mcp.engine.interface import Command
from pyro_mcp.engine.slots import connected
from pyro_mcp.guest_protocol.frames import Type, encode

with connected(Path(sys.argv[1])) as guest:
    guest.run(Command(["true"], cwd="/", environ={"PATH": "/usr/bin:/bin"}))
    guest._socket.setblocking(True)
    guest._socket.sendall(encode(Type.EXEC, bytes(500_000))[:int(sys.argv[2])])
    print("half sent", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("sent", [1, 5, 300_000])
def test_a_client_killed_in_mid_frame_frees_its_slot_and_the_next_one_is_understood(sockets: Path, sent: int) -> None:
    argv: list[str | Path] = [sys.executable, "-c", _DYING_CLIENT, sockets, str(sent)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"half sent\n"
        client.kill()
    assert (sockets / "0.lock").read_bytes() == b"1%d" % client.pid
    with connected(sockets) as guest:
        assert guest.run(command("echo", "mine")).stdout == b"mine\n"
    assert (sockets / "0.lock").read_bytes() == b"0"


@pytest.mark.parametrize("folder", [".", "none"])
def test_a_machine_that_is_not_there_is_gone(home: Path, folder: str) -> None:
    with pytest.raises(GuestGone), connected(home / folder):
        pass
