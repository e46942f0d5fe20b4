"""A guest that does not answer: no caller waits long for it, and nothing that it has written is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, DeadlineExceeded, PyroError
from pyro_mcp.results import WorkspaceExecResult
from tests.vm.processes import kernel_below
from tests.vm.running_vm import Vm

pytestmark = pytest.mark.accelerators("uml", "qemu")

# What a busy host may add to a limit.
LEEWAY = 4.0


@contextmanager
def suspended(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Check that the block takes no longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + LEEWAY


def test_a_stop_that_cannot_flush_fails_soon_and_the_workspace_runs_on(pyro: Pyro, home: Path, workspace: str) -> None:
    pyro.exec_workspace(workspace, command="echo written > file")
    with suspended(kernel_below(home)):
        with within(2), pytest.raises(DeadlineExceeded, match="still runs") as raised:
            pyro.stop_workspace(workspace)
        assert "force=True" in raised.value.hint
        assert pyro.status_workspace(workspace)["state"] == "running"
    assert pyro.exec_workspace(workspace, command="cat file")["stdout"] == "written\n"
    assert pyro.stop_workspace(workspace)["state"] == "stopped"
    pyro.start_workspace(workspace)
    assert pyro.exec_workspace(workspace, command="cat file")["stdout"] == "written\n"


def test_a_flush_before_a_stop_pauses_every_process_until_its_client_leaves(vm: Vm) -> None:
    vm.sh("nohup sh -c 'while :; do date +%N > /tick; done' >/dev/null 2>&1 & until [ -s /tick ]; do sleep 0.05; done")
    with vm.engine.connect(vm.sockets) as guest:
        guest.flush(pause=True)
        paused = vm.sh("cat /tick")
        assert vm.sh("sleep 0.2; cat /tick") == paused
    vm.sh(f"until [ -s /tick ] && [ $(cat /tick) != {paused.strip() or 0} ]; do sleep 0.05; done")


@pytest.mark.parametrize("verb", ["stop", "reset", "delete"])
def test_a_suspended_guest_delays_no_stop_reset_or_delete(pyro: Pyro, home: Path, verb: str) -> None:
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    pyro.write_workspace_file(id_, "acknowledged", text="kept")
    os.kill(kernel_below(home), signal.SIGSTOP)
    if verb == "stop":
        with within(2):
            assert pyro.stop_workspace(id_, force=True)["state"] == "stopped"
        pyro.start_workspace(id_)
        assert pyro.read_workspace_file(id_, "acknowledged")["content"] == "kept"
    if verb == "reset":
        with within(2 + 2):
            assert pyro.reset_workspace(id_)["state"] == "running"
    with within(2):
        pyro.delete_workspace(id_)


def test_file_verbs_notice_a_guest_that_has_lost_its_console(pyro: Pyro, workspace: str) -> None:
    pyro.create_snapshot(workspace, "good")
    unbind = "for one in /sys/bus/virtio/drivers/virtio_console/virtio*; do basename $one > ${one%/*}/unbind; done"
    pyro.start_service(workspace, "silence", command=f"sleep 0.5; {unbind}")

    def write_until_it_fails() -> None:
        while True:
            pyro.write_workspace_file(workspace, "file", text="x")

    with within(0.5 + 15), pytest.raises(DeadlineExceeded, match="said nothing"):
        write_until_it_fails()
    with within(2 + 2):
        pyro.reset_workspace(workspace, snapshot="good")
    assert pyro.exec_workspace(workspace, command="echo usable")["stdout"] == "usable\n"


def test_a_fork_bomb_delays_neither_file_verbs_nor_a_reset(pyro: Pyro, workspace: str, accelerator: str) -> None:
    with suppress(DeadlineExceeded):  # it may keep the guest from ending its own command in time
        pyro.exec_workspace(
            workspace, command="nohup sh -c 'b() { b | b & b; }; b' >/dev/null 2>&1 & sleep 1", timeout_seconds=3
        )
    # On uml each of its processes is a process of the host, and the guest takes long to end one when memory is short.
    with within(60 if accelerator == "uml" else 15), suppress(PyroError):  # it may leave enough room
        pyro.write_workspace_file(workspace, "file", text="x")
    with within(2 + 2):
        pyro.reset_workspace(workspace)
    assert pyro.exec_workspace(workspace, command="echo usable")["stdout"] == "usable\n"


@pytest.mark.parametrize("verb", ["stop", "reset"])
def test_a_stop_or_reset_ends_a_running_command_with_an_error_for_its_caller(
    pyro: Pyro, workspace: str, verb: str
) -> None:
    with ThreadPoolExecutor() as pool:
        ready = "touch /tmp/ready; sleep 600"
        running: Future[WorkspaceExecResult] = pool.submit(
            pyro.exec_workspace, workspace, command=ready, timeout_seconds=600
        )
        pyro.exec_workspace(workspace, command="until [ -e /tmp/ready ]; do sleep 0.05; done; echo x > file")
        with within(4):
            _ = pyro.stop_workspace(workspace) if verb == "stop" else pyro.reset_workspace(workspace)
        with pytest.raises(Conflict, match="stopped or reset meanwhile"):
            running.result(timeout=10)
    if verb == "stop":
        pyro.start_workspace(workspace)
        assert pyro.exec_workspace(workspace, command="cat file")["stdout"] == "x\n"
