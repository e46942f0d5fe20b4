"""Launches that end early, and bottles beside each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.backend.docker.names import STAGE_LABEL
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import DeadlineExceeded
from tests.bottles.docker.conftest import Shelf
from tests.bottles.docker.killed_client import AGENT_SECONDS
from tests.leftovers import processes_naming
from tests.style.project import ROOT
from tests.waiting import until

DEADLINE = 120


def client(shelf: Shelf, number: int, at: int) -> tuple[int, list[str]]:
    """Launch in a process that sends itself a signal at that call of docker; return its end and its output."""
    argv = [sys.executable, "-m", "tests.bottles.docker.killed_client", str(number), str(at)]
    done = subprocess.run(
        argv,
        cwd=shelf.project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout.split()


def left(shelf: Shelf) -> list[str]:
    return shelf.engine.names("container", STAGE_LABEL) + shelf.engine.names("volume", STAGE_LABEL)


def networks(shelf: Shelf) -> set[str]:
    """Return the interfaces that running containers of bottles have."""
    found: set[str] = set()
    for name in shelf.engine.call(["ps", "--quiet", f"--filter=label={STAGE_LABEL}"]).split():
        found |= set(shelf.engine.call(["exec", name, "ls", "/sys/class/net"]).split())
    return found


def test_a_client_that_is_killed_leaves_no_network_and_nothing_that_its_removal_does_not_find(
    shelf: Shelf, home: Path
) -> None:
    (shelf.project / "file").write_text("x")
    code, said = client(shelf, signal.SIGKILL, 0)
    slug, count = said[0], int(said[1])
    shelf.slugs.append(slug)
    assert code == 0 and shelf.backend.find(slug).exit_code() is None and networks(shelf) == {"lo", "eth0"}
    shelf.clear()
    for at in range(2, count, 4):
        code, (slug,) = client(shelf, signal.SIGKILL, at)
        shelf.slugs.append(slug)
        assert code == -signal.SIGKILL
        assert networks(shelf) <= {"lo"}, f"at call {at} of {count}"
        assert f"sleep\0{AGENT_SECONDS}" not in commands(), f"at call {at} of {count}"
        shelf.clear()
        assert left(shelf) == [], f"at call {at} of {count}"
    assert processes_naming(home) == []


def test_an_interrupted_launch_leaves_nothing(shelf: Shelf, home: Path) -> None:
    for at in (4, 7, 9, 11, 14):
        code, (slug,) = client(shelf, signal.SIGINT, at)
        assert code == -signal.SIGINT
        assert left(shelf) == [], f"at call {at}"
        state.forget(slug)
    assert processes_naming(home) == []


def test_two_bottles_of_one_agent_run_beside_each_other(shelf: Shelf) -> None:
    both = [shelf.launch(["sh", "-c", "cat > mine; sleep 600"]) for _ in range(2)]

    assert shelf.backend.slugs() == sorted(bottle.slug for bottle in both)
    for bottle in both:
        assert bottle.execute(["sh", "-c", "echo $HOSTNAME > own; ls /sys/class/net"]).stdout == b"eth0\nlo\n"
    assert [f"+{bottle.slug}" in bottle.diff().patch for bottle in both] == [True, True]
    both[0].stop()
    assert shelf.backend.slugs() == [both[1].slug]
    assert both[1].execute(["cat", "own"]).stdout.decode().strip() == both[1].slug


def test_an_image_that_is_not_there_and_one_without_a_shell_are_refused(shelf: Shelf) -> None:
    with pytest.raises(BottleFailed, match="could not be launched"):
        shelf.launch(["true"], environment="oci:127.0.0.1:1/no-such-image")
    assert left(shelf) == []


def test_a_command_that_takes_too_long_is_ended(shelf: Shelf) -> None:
    bottle = shelf.launch(["sleep", "600"])

    with pytest.raises(DeadlineExceeded):
        bottle.execute(["sleep", "432.1"], deadline_seconds=0.5)

    assert bottle.execute(["pgrep", "-f", "432[.]1"]).exit_code == 1
    failed = bottle.execute(["sh", "-c", "cat; echo err >&2; exit 4"], stdin=b"in")
    assert (failed.exit_code, failed.stdout, failed.stderr) == (4, b"in", b"err\n")


def test_a_command_that_writes_without_end_fails_and_is_not_kept_in_memory(shelf: Shelf) -> None:
    bottle = shelf.launch(["sleep", "600"])

    with pytest.raises(BottleFailed, match="cat wrote more than 16384 KiB"):
        bottle.execute(["cat", "/dev/zero"], deadline_seconds=60)

    assert bottle.execute(["echo", "all"]).stdout == b"all\n"


def test_an_import_whose_client_was_killed_is_made_again(shelf: Shelf, home: Path) -> None:
    argv = [sys.executable, "-m", "tests.bottles.docker.killed_import"]
    done = subprocess.run(
        argv, cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=DEADLINE, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    until("docker has accepted what it got", lambda: images(shelf, "claude-bottle/importing"))
    assert images(shelf, "claude-bottle/environment") == []

    bottle = shelf.launch(["sh", "-c", "id -un"], environment="debian:12")

    assert shelf.wait(bottle) == 0, bottle.output(most=1000)
    assert images(shelf, "claude-bottle/importing") == []
    assert len(images(shelf, "claude-bottle/environment")) == 1


def images(shelf: Shelf, repository: str) -> list[str]:
    return shelf.engine.call(["image", "ls", "--quiet", repository]).split()


def commands() -> str:
    """Return the command lines of this host."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return "\n".join(found)
