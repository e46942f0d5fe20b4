"""What guest/PROTOCOL.md promises, checked against the compiled agent."""

from __future__ import annotations

import errno
import os
import select
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.guest_protocol.frames import (
    INPUT_WINDOW,
    MAX_PAYLOAD,
    RESYNC,
    SYNC,
    VERSION,
    Tag,
    Type,
    encode,
    encode_fields,
)
from tests.guest.conftest import DEADLINE, Agent, Connection, error_number, exec_frame, wait_until_gone

Start = Callable[..., Agent]


# Taking a port


def test_the_handshake_names_version_build_and_phase(start_agent: Start) -> None:
    welcome = start_agent().connections[0].greet()
    assert welcome.type == Type.WELCOME
    assert (welcome.number(Tag.VERSION), welcome.number(Tag.PHASE, 9)) == (VERSION, 0)
    assert len(welcome.text(Tag.BUILD)) == 12


def test_another_version_is_refused_and_the_right_one_still_works(start_agent: Start) -> None:
    guest = start_agent().connections[0]
    assert error_number(guest.greet(version=99)) == errno.EPROTONOSUPPORT
    assert guest.greet().type == Type.WELCOME


def test_junk_before_the_preamble_is_ignored(start_agent: Start) -> None:
    guest = start_agent().connections[0]
    guest.send(os.urandom(300_000) + b"\xff" * 5)
    assert guest.greet().type == Type.WELCOME


def test_a_request_before_hello_is_refused(start_agent: Start) -> None:
    guest = start_agent().connections[0]
    guest.send(SYNC + exec_frame("true"))
    assert error_number(guest.receive()) == errno.EPROTO


def test_a_parser_that_lost_the_thread_ignores_everything_up_to_the_preamble(guest: Connection, tmp_path: Path) -> None:
    broken = encode(Type.INPUT, b"abc")[:-1] + b"\x00"
    guest.send(broken + exec_frame("touch", str(tmp_path / "ran")))
    assert guest.greet().type == Type.WELCOME
    assert guest.run("true").code == 0
    assert not (tmp_path / "ran").exists()


def test_an_oversized_frame_makes_the_parser_lose_the_thread_without_harm(guest: Connection) -> None:
    guest.send(struct.pack("<IB", MAX_PAYLOAD + 1, Type.EXEC) + bytes(100))
    assert guest.greet().type == Type.WELCOME


def assert_silent(start_agent: Start, data: bytes) -> None:
    """`data` on a greeted connection followed by RESYNC makes the agent say nothing, so it did nothing."""
    sender, witness = start_agent(connections=2).connections
    assert sender.greet().type == Type.WELCOME
    assert witness.greet().type == Type.WELCOME
    sender.send(data + RESYNC)
    for _ in range(3):  # each of these takes the agent at least one turn, in which it serves the sender too
        assert witness.run("true").code == 0
    assert select.select([sender.socket], [], [], 0)[0] == []
    assert sender.greet().type == Type.WELCOME


@pytest.mark.parametrize("cut", [1, 4, 5, 30, -1])
def test_a_half_sent_command_never_runs(start_agent: Start, cut: int) -> None:
    assert_silent(start_agent, exec_frame("true")[:cut])


def test_a_preamble_inside_a_broken_frame_is_data(start_agent: Start) -> None:
    hello = encode_fields(Type.HELLO, [(Tag.NONCE, bytes(16)), (Tag.VERSION, VERSION)])
    attack = SYNC + hello + exec_frame("true")
    assert_silent(start_agent, encode(Type.INPUT, attack + bytes(1000))[:-500])


def test_the_preamble_ends_the_former_clients_command_and_its_output(guest: Connection) -> None:
    pid = guest.start("cat", "/dev/zero")
    assert guest.greet().type == Type.WELCOME
    wait_until_gone(pid)
    assert guest.run("echo", "mine").stdout == b"mine\n"


# Commands


def test_output_and_errors_come_apart(guest: Connection) -> None:
    outcome = guest.run("sh", "-c", "echo out; echo err >&2")
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, b"out\n", b"err\n")


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_commands_own(guest: Connection, code: int) -> None:
    assert guest.run("sh", "-c", f"exit {code}").code == code


def test_death_by_a_signal_is_128_plus_its_number(guest: Connection) -> None:
    outcome = guest.run("sh", "-c", "kill -TERM $$")
    assert (outcome.code, outcome.last.number(Tag.SIGNALLED)) == (143, signal.SIGTERM)
    assert outcome.last.number(Tag.TIMED_OUT) == 0


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./no-such-program", ""])
def test_a_program_that_is_not_found_is_127_with_a_reason(guest: Connection, program: str) -> None:
    outcome = guest.run(program)
    assert outcome.code == 127
    assert outcome.last.text(Tag.TEXT) == f"{program}: not found"


def test_a_program_that_may_not_be_executed_is_126_with_a_reason(guest: Connection, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    for outcome in (guest.run("./tool", cwd=tmp_path), guest.run("tool", env=[b"PATH=%b" % os.fsencode(tmp_path)])):
        assert outcome.code == 126
        assert outcome.last.text(Tag.TEXT).endswith("tool: Permission denied")


def test_a_file_that_the_kernel_cannot_execute_is_126(guest: Connection, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"\x00\x01\x02")
    (tmp_path / "tool").chmod(0o755)
    assert guest.run("./tool", cwd=tmp_path).code == 126


def test_a_script_without_its_interpreter_is_127_and_says_so(guest: Connection, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/no/such/interpreter\n")
    (tmp_path / "tool").chmod(0o755)
    for outcome in (guest.run("./tool", cwd=tmp_path), guest.run("tool", env=[b"PATH=%b" % os.fsencode(tmp_path)])):
        assert outcome.code == 127
        assert "interpreter" in outcome.last.text(Tag.TEXT)


def test_the_program_is_looked_up_in_its_own_path(guest: Connection, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho here\n")
    tool.chmod(0o755)
    path = os.fsencode(f"PATH=/dev/null:{'x' * 5000}:{tmp_path}/empty:{tmp_path}")
    assert guest.run("tool", env=[path]).stdout == b"here\n"
    assert guest.run("tool", cwd=tmp_path, env=[b"PATH=/nowhere:"]).stdout == b"here\n"
    assert guest.run("true", env=[]).code == 0


def test_a_folder_that_cannot_be_entered_is_an_error(guest: Connection, tmp_path: Path) -> None:
    outcome = guest.run("true", cwd=tmp_path / "missing")
    assert error_number(outcome.last) == errno.ENOENT
    assert str(tmp_path / "missing") in outcome.last.text(Tag.TEXT)
    assert error_number(guest.run("true", cwd="/dev/null").last) == errno.ENOTDIR


def test_the_command_runs_in_the_folder_asked_for(guest: Connection, tmp_path: Path) -> None:
    assert guest.run("pwd", cwd=tmp_path).stdout == os.fsencode(tmp_path) + b"\n"


def test_the_environment_is_exactly_the_one_given(guest: Connection) -> None:
    variables = [b"B=2", b"A=", b"C=\xff\xfe=x\ny"]
    assert guest.run("/usr/bin/env", "-0", env=variables).stdout == b"".join(v + b"\0" for v in variables)


def test_a_large_environment_and_bytes_that_are_no_text_arrive(guest: Connection) -> None:
    large = [b"LARGE%d=" % i + b"x" * 100_000 for i in range(2)]
    outcome = guest.run("/usr/bin/printf", "%s", b"\xff\xc3(\x01", env=large)
    assert (outcome.code, outcome.stdout) == (0, b"\xff\xc3(\x01")
    assert guest.run("/usr/bin/env", "-0", env=large).stdout == b"".join(v + b"\0" for v in large)


def test_too_many_arguments_for_the_kernel_are_126(guest: Connection) -> None:
    outcome = guest.run("/bin/true", "x" * 200_000)
    assert outcome.code == 126
    assert outcome.last.text(Tag.TEXT) == "/bin/true: Argument list too long"


def test_a_command_leads_a_session_of_its_own_with_clean_signals(guest: Connection) -> None:
    pid = guest.start("cat", "/proc/self/stat")
    assert guest.finish().stdout.rpartition(b")")[2].split()[2:4] == [b"%d" % pid] * 2
    signals = guest.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status").stdout.splitlines()
    # The C library keeps signals 32 to 34 to itself; nobody can change what it inherited for them.
    assert [int(line.split()[1], 16) & ~(7 << 31) for line in signals] == [0, 0]


def test_a_command_inherits_nothing_but_its_three_streams(guest: Connection) -> None:
    listing = guest.run("sh", "-c", "echo /proc/self/fd/*").stdout.split()
    assert {os.path.basename(name) for name in listing} <= {b"0", b"1", b"2", b"3"}
    assert guest.run("readlink", "/proc/self/fd/0").stdout == b"/dev/null\n"


# Standard input


def test_five_megabytes_of_any_bytes_make_the_round_trip(guest: Connection) -> None:
    data = os.urandom(5_000_000)
    outcome = guest.run("cat", stdin=data)
    assert (outcome.code, outcome.stdout == data, outcome.taken) == (0, True, len(data))


def test_the_end_of_input_reaches_the_command(guest: Connection) -> None:
    assert guest.run("wc", "-c", stdin=b"").stdout.strip() == b"0"
    assert guest.run("wc", "-c", stdin=b"four").stdout.strip() == b"4"


def test_input_for_a_command_that_closed_it_is_thrown_away_and_still_taken(guest: Connection) -> None:
    guest.start("sh", "-c", "exec <&-; echo closed; exec sleep 1000", stdin=True)
    assert guest.expect(Type.STDOUT).payload == b"closed\n"
    for _ in range(8):
        guest.send(encode(Type.INPUT, bytes(INPUT_WINDOW)))
        assert guest.expect(Type.TAKEN).number(Tag.NUMBER) == INPUT_WINDOW
    guest.send(encode_fields(Type.SIGNAL, [(Tag.NUMBER, signal.SIGKILL)]))
    assert guest.finish().code == 137


def test_input_that_comes_after_the_end_is_ignored(guest: Connection) -> None:
    assert guest.run("true", stdin=bytes(100)).code == 0
    guest.send(encode(Type.INPUT, b"late") + encode(Type.INPUT))
    assert guest.run("echo", "next").stdout == b"next\n"


def test_input_beyond_the_window_is_an_error_and_ends_the_command(guest: Connection) -> None:
    pid = guest.start("sleep", "1000", stdin=True)
    guest.send(encode(Type.INPUT, bytes(INPUT_WINDOW + 1)))
    assert error_number(guest.receive()) == errno.EOVERFLOW
    wait_until_gone(pid)
    assert guest.run("true").code == 0


# Background children, time limits, signals, disconnection


def test_a_background_child_neither_delays_the_exit_nor_dies_when_it_writes(guest: Connection, tmp_path: Path) -> None:
    for name in ("go", "done"):
        os.mkfifo(tmp_path / name)
    script = "(read x <go; head -c 3000000 /dev/zero; echo late >&2; echo survived >done) & echo early"
    outcome = guest.run("sh", "-c", script, cwd=tmp_path)
    assert (outcome.code, outcome.stdout) == (0, b"early\n")
    done = os.open(tmp_path / "done", os.O_RDONLY | os.O_NONBLOCK)
    with open(done, "rb", buffering=0) as stream, open(tmp_path / "go", "wb", buffering=0) as go:
        go.write(b"x\n")
        assert select.select([stream], [], [], DEADLINE)[0]
        assert stream.read() == b"survived\n"
    assert guest.run("echo", "clean").stdout == b"clean\n"


def test_all_that_was_written_before_the_end_comes_before_the_exit(guest: Connection) -> None:
    outcome = guest.run("sh", "-c", "sleep 1000 & echo $! >&2; head -c 60000 /dev/zero; kill -9 $$")
    os.kill(int(outcome.stderr), signal.SIGKILL)
    assert (outcome.code, len(outcome.stdout)) == (137, 60000)


def test_at_the_time_limit_the_whole_group_is_killed(guest: Connection) -> None:
    outcome = guest.run("sh", "-c", "trap '' TERM; sh -c 'sleep 1000 & echo $!; wait' & wait", timeout_ms=500)
    assert (outcome.code, outcome.last.number(Tag.TIMED_OUT), outcome.last.number(Tag.SIGNALLED)) == (137, 1, 9)
    wait_until_gone(int(outcome.stdout))


def test_a_command_within_its_time_limit_is_left_alone(guest: Connection) -> None:
    outcome = guest.run("echo", "quick", timeout_ms=60_000)
    assert (outcome.code, outcome.stdout, outcome.last.number(Tag.TIMED_OUT)) == (0, b"quick\n", 0)


def test_a_signal_reaches_the_commands_group(guest: Connection, tmp_path: Path) -> None:
    child = "trap 'echo child; exit' USR1; echo ready; read line <fifo"
    parent = f"trap 'wait; exit 9' USR1; sh -c \"{child}\" & wait"
    os.mkfifo(tmp_path / "fifo")
    guest.start("sh", "-c", parent, cwd=tmp_path)
    assert guest.expect(Type.STDOUT).payload == b"ready\n"
    guest.send(encode_fields(Type.SIGNAL, [(Tag.NUMBER, signal.SIGUSR1)]))
    outcome = guest.finish()
    assert (outcome.code, outcome.stdout) == (9, b"child\n")


def test_a_disconnection_kills_the_group(start_agent: Start) -> None:
    leaving, staying = start_agent(connections=2).connections
    for connection in (leaving, staying):
        assert connection.greet().type == Type.WELCOME
    leader = leaving.start("sh", "-c", "sleep 1000 & echo $!; wait")
    child = int(leaving.expect(Type.STDOUT).payload)
    leaving.socket.close()
    wait_until_gone(leader)
    wait_until_gone(child)
    assert staying.run("echo", "here").stdout == b"here\n"


def test_two_connections_run_commands_at_the_same_time(start_agent: Start) -> None:
    first, second = start_agent(connections=2).connections
    for connection in (first, second):
        assert connection.greet().type == Type.WELCOME
    first.start("cat", stdin=True)
    assert second.run("echo", "meanwhile").stdout == b"meanwhile\n"
    assert first.finish(b"later").stdout == b"later"


# Requests that cannot be


def test_a_second_request_on_a_busy_port_is_refused_and_the_first_goes_on(guest: Connection) -> None:
    guest.start("cat", stdin=True)
    guest.send(exec_frame("true"))
    assert error_number(guest.receive()) == errno.EBUSY
    assert guest.finish(b"still here").stdout == b"still here"


def test_an_unknown_request_is_an_error(guest: Connection) -> None:
    for type_ in (0, 9, 64, 255):
        guest.send(struct.pack("<IB", 0, type_) + b"\xa7")
        assert error_number(guest.receive()) == errno.EOPNOTSUPP


@pytest.mark.parametrize(
    "payload",
    [b"\x09", b"\x09\x05\x00\x00\x00abc", b"\x09\xff\xff\xff\xffabc", b"\x0c\x04\x00\x00\x00abcd", b"\x09\x00\x00\x00"],
)
def test_broken_fields_are_an_error(guest: Connection, payload: bytes) -> None:
    guest.send(encode(Type.EXEC, payload))
    assert error_number(guest.receive()) == errno.EBADMSG
    assert guest.run("true").code == 0


@pytest.mark.parametrize(
    "fields",
    [[], [(Tag.ARG, b"tr\0ue")], [(Tag.ARG, b"true"), (Tag.ENV, b"A")], [(Tag.ARG, b"true"), (Tag.TIMEOUT_MS, 2**63)]],
)
def test_a_command_that_cannot_be_meant_is_an_error(guest: Connection, fields: list[tuple[Tag, bytes | int]]) -> None:
    assert error_number(guest.ask(Type.EXEC, *fields)) == errno.EINVAL


def test_an_unknown_field_is_skipped(guest: Connection) -> None:
    unknown = b"\xc8\x03\x00\x00\x00abc"
    payload = exec_frame("echo", "hi")[5:-1]
    guest.send(encode(Type.EXEC, unknown + payload + unknown))
    guest.expect(Type.STARTED)
    assert guest.finish().stdout == b"hi\n"


def test_what_only_a_machine_can_do_is_refused_on_a_host(guest: Connection) -> None:
    for type_ in (Type.SETUP, Type.FLUSH, Type.POWEROFF, Type.CLOCK):
        assert error_number(guest.ask(type_)) == errno.ENOSYS


def test_a_signal_that_does_not_exist_is_an_error(guest: Connection) -> None:
    for number in (0, 65, 2**64 - 1):
        assert error_number(guest.ask(Type.SIGNAL, (Tag.NUMBER, number))) == errno.EINVAL
