"""The command line of smolvm, against a stand-in that behaves like it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_bottle.backend.smolmachines import smolvm
from claude_bottle.backend.smolmachines.smolvm import machine_cp, machine_exec
from pyro_mcp.errors import HostCommandFailed, HostToolMissing, InvalidRequest


def content(machine: str, path: str) -> bytes:
    return machine_exec(machine, ["cat", path])


def test_a_file_is_copied_in_under_its_new_name(machine: str, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_bytes(b"first")
    machine_cp(str(tmp_path / "prompt"), f"{machine}:/root/.prompt")
    (tmp_path / "prompt").write_bytes("Grüße\n".encode())

    machine_cp(str(tmp_path / "prompt"), f"{machine}:/root/.prompt")

    assert content(machine, "/root/.prompt") == "Grüße\n".encode()


def test_a_folder_is_copied_in_with_its_files_modes_and_links(machine: str, tmp_path: Path) -> None:
    skill = tmp_path / "skill"
    (skill / "below" / "ü").mkdir(parents=True)
    (skill / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (skill / "run.sh").chmod(0o755)
    (skill / "link").symlink_to("below")
    (tmp_path / "alias").symlink_to("skill")

    machine_cp(str(tmp_path / "alias"), f"{machine}:/root/skills/one")

    assert machine_exec(machine, ["/root/skills/one/run.sh"]) == b"ran\n"
    found = machine_exec(machine, ["find", "/root/skills", "-printf", "%P %y %l\n"]).decode().splitlines()
    assert sorted(found) == [" d ", "one d ", "one/below d ", "one/below/ü d ", "one/link l below", "one/run.sh f "]


def test_a_folder_that_cannot_be_unpacked_leaves_no_archive(machine: str, tmp_path: Path) -> None:
    (tmp_path / "skill").mkdir()
    machine_exec(machine, ["mkdir", "-p", "/root/skills/one"])
    machine_exec(machine, ["mkdir", "/root/bin"])
    (tmp_path / "skill" / "file").write_text("x")
    machine_exec(machine, ["mkdir", "/root/skills/one/file"])  # tar cannot replace a folder by a file
    machine_exec(machine, ["touch", "/root/skills/one/file/inside"])

    with pytest.raises(HostCommandFailed, match="file"):
        machine_cp(str(tmp_path / "skill"), f"{machine}:/root/skills/one")

    assert machine_exec(machine, ["ls", "/root/skills"]) == b"one\n"


def test_a_host_path_with_a_colon_is_a_path(machine: str, tmp_path: Path) -> None:
    (tmp_path / "a:b").write_text("inside")

    machine_cp(str(tmp_path / "a:b"), f"{machine}:/root/a")

    assert content(machine, "/root/a") == b"inside"


def test_a_file_is_copied_out(machine: str, tmp_path: Path) -> None:
    machine_exec(machine, ["sh", "-c", "echo out > /root/made"])

    machine_cp(f"{machine}:/root/made", str(tmp_path / "made:here"))

    assert (tmp_path / "made:here").read_text() == "out\n"


@pytest.mark.parametrize(("source", "target"), [("/a", "/b"), ("m:/a", "m:/b"), ("/a", "m:b"), ("/a", "-x:/b")])
def test_a_copy_that_is_not_between_host_and_machine_is_refused(source: str, target: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot copy"):
        machine_cp(source, target)


def test_a_command_fails_with_its_exit_code_and_its_error(machine: str) -> None:
    with pytest.raises(HostCommandFailed, match=r"exit code 3:\nnot today"):
        machine_exec(machine, ["sh", "-c", "echo not today >&2; exit 3"])


def test_words_that_look_like_options_reach_the_command(machine: str) -> None:
    assert machine_exec(machine, ["echo", "--name", "x", "-i", "--", "a b", ""]) == b"--name x -i -- a b \n"


def test_a_command_gets_its_input_and_otherwise_none(machine: str) -> None:
    assert machine_exec(machine, ["cat"], stdin=b"\x00\xff typed") == b"\x00\xff typed"
    assert machine_exec(machine, ["cat"]) == b""


@pytest.mark.usefixtures("smolvm_host")
@pytest.mark.parametrize("name", ["missing", "created"])
def test_a_machine_that_does_not_run_is_said(tmp_path: Path, name: str) -> None:
    smolvm.machine_create("created", image="alpine")
    (tmp_path / "f").touch()

    for call in (lambda: machine_exec(name, ["true"]), lambda: machine_cp(str(tmp_path / "f"), f"{name}:/f")):
        with pytest.raises(HostCommandFailed, match=r"not found|not running"):
            call()


def test_without_smolvm_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")

    with pytest.raises(HostToolMissing, match="smolvm is not installed") as failed:
        machine_exec("m", ["true"])

    assert "github.com/smol-machines/smolvm" in str(failed.value)


@pytest.mark.usefixtures("smolvm_host")
def test_the_life_of_a_machine(tmp_path: Path) -> None:
    packed = tmp_path / "agent.smolmachine"
    packed.touch()
    smolvm.machine_create("one", from_path=packed, cpus=2, mem_mib=2048, environ={"A": "b=c"}, resolver="10.0.2.3")
    assert smolvm.machines() == {"one": None}

    smolvm.machine_start("one")
    pid = smolvm.machines()["one"]

    assert pid is not None and os.path.exists(f"/proc/{pid}")
    assert machine_exec("one", ["sh", "-c", "echo $A; cat /etc/resolv.conf"]) == b"b=c\nnameserver 10.0.2.3\n"
    smolvm.machine_stop("one")
    assert smolvm.machines() == {"one": None}
    smolvm.machine_rm("one")
    assert smolvm.machines() == {}


@pytest.mark.usefixtures("smolvm_host")
def test_a_machine_from_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostCommandFailed, match="file not found"):
        smolvm.machine_create("one", from_path=tmp_path / "gone.smolmachine")
