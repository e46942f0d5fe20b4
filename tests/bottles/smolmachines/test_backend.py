"""A bottle in a machine of smolvm, from launch to stop, with the stand-in."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from claude_bottle.backend import BottleSpec
from claude_bottle.backend.smolmachines import backend, bottle, smolvm
from claude_bottle.backend.smolmachines.launcher import PACKED_VARIABLE, SmolmachinesBackend
from claude_bottle.backend.smolmachines.programs import MachineRunner
from claude_bottle.manifest import Manifest
from claude_bottle.state import stage_dir, write_prompt
from pyro_mcp.errors import GuestFailed, Interrupted, InvalidRequest, NotFound
from pyro_mcp.host.files import private_directory
from pyro_mcp.sessions import Command
from tests.waiting import until

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="makes network namespaces: run the tests as root"),
    pytest.mark.usefixtures("packed"),
]
SLUG = "demo-000001"
SCRIPT = """
echo "prompt: $(cat ~/.claude-bottle-prompt.txt)"
ls ~/.claude/skills
read -r line
echo "told $line" > told.txt
rm gone.txt
echo "key $KEY"
exit 7
"""


@pytest.fixture
def packed(smolvm_host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = smolvm_host / "agent.smolmachine"
    path.touch()
    monkeypatch.setenv(PACKED_VARIABLE, str(path))


def spec(folder: Path, script: str = SCRIPT, **more: Any) -> BottleSpec:
    agent = {"bottle": "dev", "prompt": "Grüße", "harness": ["sh", "-c", script]}
    given = {"bottles": {"dev": more}, "agents": {"demo": agent}}
    return BottleSpec(Manifest.from_json_obj(given), "demo", True, str(folder))


def launched(asked: BottleSpec) -> bottle.SmolBottle:
    stage = stage_dir(SLUG)
    private_directory(stage.parent)
    private_directory(stage)
    plan = SmolmachinesBackend().plan(asked, slug=SLUG, stage_dir=stage)
    write_prompt(plan.prompt_file, "Grüße")
    made = SmolmachinesBackend().launch(plan, lambda _: None)
    assert isinstance(made, bottle.SmolBottle)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "gone.txt").write_text("one\n")
    (folder / "kept.txt").write_text("kept\n")
    return folder


def test_an_agent_lives_in_its_machine_from_launch_to_stop(project: Path, tmp_path: Path) -> None:
    made = launched(spec(project, env={"KEY": "k"}))
    assert SmolmachinesBackend().slugs() == [SLUG]
    ours, theirs = os.pipe()
    seen = bytearray()

    def said(piece: bytes) -> None:
        seen.extend(piece)

    with open(ours, "rb") as keyboard, open(theirs, "wb", buffering=0) as fingers:
        fingers.write(b"hello\n")
        code = SmolmachinesBackend().find(SLUG).attach(keyboard, said)

    assert code == made.exit_code() == 7
    assert "prompt: Grüße" in seen.decode() and "key k" in seen.decode()
    assert made.output(most=9).endswith(b"key k\r\n")
    patch = made.diff().patch
    assert "+told hello" in patch and "deleted file" in patch and "kept" not in patch
    assert made.export("", tmp_path / "out") == []
    assert sorted(os.listdir(tmp_path / "out")) == ["kept.txt", "told.txt"]
    made.execute(["mkfifo", "pipe"])
    (remark,) = made.export("", tmp_path / "again")
    assert remark.startswith("left out /workspace/pipe: ")
    done = made.execute(["sh", "-c", "pwd; echo $KEY; cat; exit 3"], stdin=b"given")
    assert (done.exit_code, done.stdout) == (3, b"/workspace\nk\ngiven")
    made.stop()
    made.stop()
    assert SmolmachinesBackend().slugs() == []
    with pytest.raises(NotFound):
        SmolmachinesBackend().find(SLUG)


def test_an_agent_goes_on_when_its_terminal_is_left(project: Path) -> None:
    made = launched(spec(project))
    ours, theirs = os.pipe()
    leave, left = os.pipe()
    shown = threading.Event()

    def leave_when_shown() -> None:
        shown.wait(30)
        os.close(left)

    watching = threading.Thread(target=leave_when_shown)
    watching.start()
    with open(ours, "rb") as keyboard, open(leave, "rb") as interrupt:
        assert made.attach(keyboard, lambda _: shown.set(), interrupt=interrupt.fileno()) is None
    watching.join()
    os.close(theirs)

    made.resize(100, 30)

    assert made.exit_code() is None


def test_somebody_can_leave_an_agent_that_does_not_read_what_was_pasted(project: Path) -> None:
    made = launched(spec(project, script="stty raw -echo; echo ready; exec sleep 600"))
    ours, theirs = os.pipe()
    leave, left = os.pipe()
    shown = threading.Event()

    def paste() -> None:
        shown.wait(30)
        os.set_blocking(theirs, False)
        while select.select([], [theirs], [], 1.0)[1]:
            with suppress(BlockingIOError):
                os.write(theirs, bytes(64 * 1024))
        os.close(left)

    pasting = threading.Thread(target=paste)
    pasting.start()
    with open(ours, "rb") as keyboard, open(leave, "rb") as interrupt:
        assert made.attach(keyboard, lambda _: shown.set(), interrupt=interrupt.fileno()) is None
    pasting.join()
    os.close(theirs)


def test_a_command_of_a_machine_that_ignores_the_end_of_its_input_is_left_too(machine: str) -> None:
    ours, theirs = os.pipe()
    leave, left = os.pipe()
    with open(ours, "rb") as keyboard, open(leave, "rb") as interrupt:
        command = Command(
            ["sh", "-c", "echo ready; exec sleep 600"],
            cwd="/",
            stdin=keyboard,
            on_stdout=lambda _: os.close(left),
            interrupt=interrupt.fileno(),
            timeout_seconds=60,
        )
        with pytest.raises(Interrupted):
            MachineRunner(machine).run(command)
    os.close(theirs)


def test_a_machine_that_was_killed_has_ended_its_agent(project: Path) -> None:
    made = launched(spec(project))

    subprocess.run(["smolvm", "machine", "stop", "--name", bottle.machine_name(SLUG)], check=True, timeout=60)

    assert made.exit_code() == 137


def test_a_machine_has_no_network_but_its_gateway(project: Path) -> None:
    made = launched(spec(project, egress=["allowed.test"]))
    pid = smolvm.machines()[bottle.machine_name(SLUG)]
    assert pid is not None and not os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
    reach = "import socket; line = socket.create_connection(('{}', {}), 5); line.sendall(b'x'); assert line.recv(9)"

    for host, port in (("127.0.0.1", 22), ("93.184.215.14", 80), ("other.test", 443)):
        assert made.execute(["python3", "-c", reach.format(host, port)]).exit_code != 0

    until(
        "the refusals are logged",
        lambda: {one["name"] or one["address"] for one in made.network_log(limit=20) if one["verdict"] == "refused"},
        lambda found: {"93.184.215.14", "other.test"} <= found,
        deadline_seconds=10,
    )


def test_a_machine_that_starts_elsewhere_is_removed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = smolvm.machine_start
    monkeypatch.setattr(smolvm, "machine_start", lambda name, **_: start(name))

    with pytest.raises(GuestFailed, match="network namespace"):
        launched(spec(project))

    assert smolvm.machines() == {}


@pytest.mark.parametrize("step", ["machine_create", "machine_start", "machine_cp", "machine_exec"])
def test_an_interrupt_at_any_step_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    real = getattr(smolvm, step)

    def interrupted(*words: Any, **more: Any) -> None:
        with suppress(Exception):
            real(*words, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(smolvm, step, interrupted)

    with pytest.raises(KeyboardInterrupt):
        launched(spec(project))

    assert smolvm.machines() == {}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"packages": ["jq"]}, "no packages"),
        ({"accelerator": "kvm"}, "no accelerator"),
        ({"resources": {"ttl_seconds": 86400}}, "no ttl_seconds"),
        ({"environment": "/nowhere/x.smolmachine"}, "no packed machine"),
    ],
)
def test_what_smolvm_cannot_do_is_refused_before_anything_is_made(
    project: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        launched(spec(project, **more))

    assert smolvm.machines() == {}


def test_without_a_packed_machine_the_error_says_how_to_make_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PACKED_VARIABLE)

    with pytest.raises(InvalidRequest, match="cannot make the environment debian:12-agent") as refused:
        launched(spec(project))

    assert "smolvm pack create" in str(refused.value)


def test_two_bottles_of_one_agent_do_not_know_each_other(project: Path) -> None:
    first = launched(spec(project))
    other = private_directory(private_directory(stage_dir("demo-000002").parent) / "stage")
    plan = backend().plan(spec(project), slug="demo-000002", stage_dir=other)
    write_prompt(plan.prompt_file, "")
    second = backend().launch(plan, lambda _: None)

    second.stop()

    assert backend().slugs() == [SLUG]
    assert first.exit_code() is None


def test_without_smolvm_there_are_no_bottles_and_nothing_to_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")

    assert backend().slugs() == []
    backend().remove(SLUG)  # a second call: no module of the package may take the function's name
    assert any("smolvm is not installed" in problem for problem in backend().problems())
