"""`moot demo` hands work from one real agent to the other and back, and leaves nothing, even when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moot.agents.tmux import socket_name
from moot.demo.world import new_world, processes_of
from tests.style.project import ROOT

PROGRAMS = ROOT / "build/hosts/bin"


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="demo-", dir="/tmp") as home:  # sockets need a short path
        yield {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8"}


def demo(environ: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "moot", "demo", *words],
        env=environ,
        cwd=environ["HOME"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left(environ: dict[str, str]) -> list[Path]:
    """Return the folders of demonstrations that are there."""
    return list(Path(environ["TMPDIR"]).glob("moot-demo-*/.scratch-*"))


def test_two_real_agents_hand_over_work_and_nothing_is_left(environ: dict[str, str]) -> None:
    running = demo(environ, "--json")
    output, errors = running.communicate(timeout=280)
    assert running.returncode == 0, errors
    report = json.loads(output)
    assert [(one["from"], one["to"], one["read"], one["delivery"]) for one in report["messages"]] == [
        ("implementation", "qa", 1, "acknowledged"),
        ("qa", "implementation", 1, "acknowledged"),
    ]
    assert report["left"] == 0
    assert list(Path(environ["TMPDIR"]).iterdir()) == []


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_a_demonstration_that_is_ended_early_leaves_nothing(
    environ: dict[str, str], ending: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = demo(environ)
    assert running.stdout is not None
    for line in running.stdout:
        if "'moot up' starts" in line:
            break
    folder = left(environ)[0]
    assert processes_of(folder), "the server runs"
    running.send_signal(ending)
    running.communicate(timeout=60)
    if ending == signal.SIGKILL:
        assert folder.exists()
        monkeypatch.setattr(tempfile, "tempdir", environ["TMPDIR"])
        with new_world(PROGRAMS / "claude"):  # the next one
            assert not folder.exists()
    else:
        assert running.returncode == 130
    assert processes_of(folder) == []
    assert left(environ) == []
    assert not Path(f"/tmp/tmux-{os.geteuid()}", socket_name(str(folder / "project"))).exists()
