"""The guest's file tool on the disks of a real machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.engine.disks import make_baseline
from pyro_mcp.engine.freeze import GUEST_TOOL, while_frozen
from pyro_mcp.engine.interface import Command
from pyro_mcp.guest_protocol.frames import encode
from tests.guest.tool import DEADLINE, TYPE_NUMBERS, Message, edit, messages
from tests.vm.running_vm import Vm

ROOT = "/root/workspace"
DISK = "/disk"


def tool(vm: Vm, *words: str, stdin: bytes | None = None) -> list[Message]:
    """Run the tool, and return its messages."""
    done = vm.run(GUEST_TOOL, *words, cwd="/", environ={}, is_guest_program=True, stdin=stdin)
    assert (done.exit_code, done.stderr) == (0, b"")
    return messages(done.stdout)


def test_commands_and_the_tool_see_what_the_other_does(start: Callable[..., Vm], tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / "seed" / folder).mkdir(parents=True)
        (tmp_path / "seed" / folder / "file").write_text(folder)
    make_baseline(tmp_path / "seed", tmp_path / "baseline")
    vm = start(baseline=tmp_path / "baseline")

    vm.sh("mv two moved; echo more >>one/file; mkdir new; touch moved")
    *changes, _ = tool(vm, "changes", "/disk/workspace/upper", "/baseline", ROOT)
    assert [change.path for change in changes] == [b"moved", b"moved/file", b"new", b"one/file", b"two", b"two/file"]
    assert changes[1].fields["ORIGIN"] == changes[5].fields["OLD_INODE"]

    edits = edit(b"moved", "x") + edit(b"one/file", "f", b"put") + encode(TYPE_NUMBERS["COMMIT"])
    tool(vm, "apply", ROOT, stdin=edits)
    assert vm.sh("find . -type f; cat one/file") == "./one/file\nput"
    answer = tool(vm, "walk", "--content", "10", ROOT, "one/file")
    assert [message.data for message in answer if message.name == "DATA"] == [b"put"]


def test_only_a_tool_runs_outside_the_commands_root(vm: Vm) -> None:
    assert vm.run(GUEST_TOOL, "walk", "/", "").exit_code == 127
    assert vm.run("/bin/true", cwd="/", is_guest_program=True).exit_code == 127


def test_a_write_while_the_disk_is_frozen_waits_for_the_thaw(vm: Vm) -> None:
    seen: list[bytes] = []

    def act() -> None:
        vm.sh("echo x >/workspace/late & until grep -q ' D ' /proc/$!/stat; do :; done", cwd="/", timeout_seconds=5)
        *entries, _ = tool(vm, "walk", "/disk/workspace/upper", "")
        seen.extend(entry.path for entry in entries)

    with vm.engine.connect(vm.sockets) as guest:
        while_frozen(guest, act)
    assert seen == [b""]
    assert vm.sh("until test -s late; do :; done; cat late", timeout_seconds=5) == "x\n"


class Gone(Exception):
    """The error with which a client leaves in the middle of a command."""


def test_a_client_that_is_gone_leaves_nothing_frozen(vm: Vm) -> None:
    def leave(_: bytes) -> None:
        raise Gone

    reading, writing = os.pipe()
    with open(reading, "rb") as until_closed, open(writing, "wb"):
        freeze = Command(
            [GUEST_TOOL, "freeze", DISK], cwd="/", is_guest_program=True, stdin=until_closed, on_stdout=leave
        )
        with pytest.raises(Gone), vm.engine.connect(vm.sockets) as guest:
            guest.run(freeze)
        assert vm.sh("echo x >/workspace/file; sync; cat /workspace/file", timeout_seconds=5) == "x\n"


def test_a_disk_that_nobody_releases_thaws_by_itself(vm: Vm) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as until_closed, open(writing, "wb"):
        done = vm.run(
            GUEST_TOOL, "freeze", DISK, cwd="/", is_guest_program=True, stdin=until_closed, timeout_seconds=DEADLINE
        )
    assert (done.exit_code, done.stderr) == (1, b"/disk: frozen for too long\n")
    assert vm.sh("echo x >/workspace/file; cat /workspace/file") == "x\n"
