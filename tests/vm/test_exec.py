"""A command in a guest behaves as it would on a machine of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pyro_mcp.engine.interface import OUTPUT_CAP
from pyro_mcp.errors import InvalidRequest
from tests.vm.running_vm import Vm

pytestmark = pytest.mark.accelerators("uml", "qemu")


def test_arguments_arrive_as_they_were_given(vm: Vm) -> None:
    words = ["", "a b", "'", "$HOME", "*", "ü", "-n", "\n"]

    done = vm.run("python3", "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)

    assert json.loads(done.stdout) == words


def test_an_argument_need_not_be_text(vm: Vm) -> None:
    assert vm.run("printf", "%s", b"\xff\xfe\x80").stdout == b"\xff\xfe\x80"


def test_a_command_starts_in_an_empty_workspace_unless_told_otherwise(vm: Vm) -> None:
    assert vm.sh("pwd; ls -A") == "/workspace\n"
    assert vm.sh("pwd", cwd="/etc/apt") == "/etc/apt\n"


def test_a_directory_that_is_not_there_is_refused(vm: Vm) -> None:
    with pytest.raises(InvalidRequest, match="cannot run the command"):
        vm.run("true", cwd="/nowhere")


def test_a_command_sees_just_the_environment_it_was_given(vm: Vm) -> None:
    done = vm.run("/usr/bin/env", environ={"A": "1", "EMPTY": "", "B": "x=y z"})

    assert sorted(done.stdout.decode().splitlines()) == ["A=1", "B=x=y z", "EMPTY="]


def test_an_environment_may_hold_200_kilobytes(vm: Vm) -> None:
    environ = {f"V{number}": "x" * 1000 for number in range(200)}

    done = vm.run("/usr/bin/env", environ=environ)

    assert done.stdout.count(b"x" * 1000) == 200


def test_a_single_variable_that_the_kernel_refuses_gives_126_and_a_reason(vm: Vm) -> None:
    done = vm.run("/usr/bin/env", environ={"BIG": "x" * 200_000})

    assert done.exit_code == 126
    assert b"Argument list too long" in done.stderr


def test_input_ends_at_once_when_there_is_none(vm: Vm) -> None:
    assert vm.run("cat", timeout_seconds=20).exit_code == 0


def test_bytes_survive_the_way_in_and_out(vm: Vm) -> None:
    sent = bytes(range(256)) * 3000

    assert vm.run("cat", stdin=sent).stdout == sent


def test_output_and_errors_are_kept_apart(vm: Vm) -> None:
    done = vm.run("sh", "-c", "echo out; echo err >&2")

    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_output_arrives_while_the_command_still_runs(vm: Vm) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as stdin, open(writer, "wb", buffering=0) as answer:

        def on_stdout(data: bytes) -> None:
            if b"ready" in data:
                answer.write(b"go\n")

        done = vm.run("sh", "-c", 'echo ready; read word; echo "$word"', stdin=stdin, on_stdout=on_stdout)

    assert done.stdout == b"ready\ngo\n"


@pytest.mark.parametrize(
    ("argv", "exit_code", "signal"),
    [
        (["true"], 0, None),
        (["sh", "-c", "exit 3"], 3, None),
        (["sh", "-c", "exit 255"], 255, None),
        (["/etc/passwd"], 126, None),
        (["/etc"], 126, None),
        (["no-such-program"], 127, None),
        (["/no/such/program"], 127, None),
        (["sh", "-c", "kill -TERM $$"], 143, 15),
        (["sh", "-c", "kill -KILL $$"], 137, 9),
    ],
)
def test_the_exit_code_says_how_a_command_ended(vm: Vm, argv: list[str], exit_code: int, signal: int | None) -> None:
    done = vm.run(*argv)

    assert (done.exit_code, done.signal, done.timed_out) == (exit_code, signal, False)


def test_at_its_time_limit_the_whole_process_group_is_killed(vm: Vm) -> None:
    done = vm.run("sh", "-c", "sleep 600 & echo $!; wait", timeout_seconds=1)

    assert (done.exit_code, done.timed_out) == (124, True)
    child = done.stdout.decode().strip()
    assert vm.run("tail", f"--pid={child}", "-f", "/dev/null", timeout_seconds=20).timed_out is False


def test_a_background_child_that_keeps_the_output_open_is_not_waited_for(vm: Vm) -> None:
    done = vm.run("sh", "-c", "sleep 600 & echo done", timeout_seconds=20)

    assert (done.exit_code, done.stdout, done.timed_out) == (0, b"done\n", False)


def test_the_first_megabyte_of_an_output_is_kept_and_all_of_it_is_counted(vm: Vm) -> None:
    passed_on: list[int] = []

    done = vm.run("head", "-c", "10000000", "/dev/zero", on_stdout=lambda data: passed_on.append(len(data)))

    assert len(done.stdout) == OUTPUT_CAP
    assert done.stdout_bytes == sum(passed_on) == 10_000_000
    assert done.truncated


def test_several_processes_use_one_machine_at_the_same_time(vm: Vm) -> None:
    clients = [client(vm, "echo", str(number)) for number in range(6)]

    assert [one.communicate(timeout=60)[0] for one in clients] == [f"{number}\n" for number in range(6)]


def test_commands_in_one_machine_run_side_by_side(vm: Vm) -> None:
    vm.sh("mkfifo meet")
    reader = client(vm, "cat", "meet")

    vm.run("sh", "-c", "echo hello >meet", timeout_seconds=20)

    assert reader.communicate(timeout=30)[0] == "hello\n"


def client(vm: Vm, *argv: str) -> subprocess.Popen[str]:
    """Start another process of the host that runs a command in the machine and prints its output."""
    program = (
        "import sys; from pathlib import Path\n"
        "from pyro_mcp.engine.interface import Command\n"
        "from pyro_mcp.engine.guest import GuestEngine\n"
        "with GuestEngine(Path()).connect(Path(sys.argv[1])) as guest:\n"
        "    print(guest.run(Command(sys.argv[2:])).stdout.decode(), end='')\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, vm.sockets, *argv], stdout=subprocess.PIPE, text=True)
