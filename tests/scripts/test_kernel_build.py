"""The kernel's build in the background of `make demo`, with a script in the place of the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp.host.process_identity import identify
from scripts.kernel_build import KernelBuild
from tests.waiting import until


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, which is the current folder."""
    (tmp_path / "scripts").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build(folder: Path, script: str) -> KernelBuild:
    """Start the build of `kernel` by this script."""
    path = folder / "scripts/uml-kernel"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return KernelBuild(folder / "kernel", log=folder / "build/log")


def test_a_build_that_ends_well_has_made_the_kernel(folder: Path) -> None:
    started = build(folder, 'echo "a kernel" >"$1"')

    assert started.wait(20) is True
    assert (folder / "kernel").read_text() == "a kernel\n"


def test_a_build_that_fails_says_why_in_its_last_line(folder: Path) -> None:
    started = build(folder, "echo fetching; echo 'no such suite' >&2; exit 1")

    assert started.wait(20) is False
    assert started.problem() == "no such suite"


def test_a_build_is_not_awaited_longer_than_asked_and_ends_with_all_that_it_started(folder: Path) -> None:
    started = build(folder, "sleep 1000 & echo $! >new; mv new pid; wait")
    noted = folder / "pid"
    compiler = int(until("the number of the process", lambda: noted.read_text() if noted.exists() else ""))

    assert started.wait(0) is None
    assert identify(compiler) is not None
    started.stop()
    assert started.wait(0) is False
    until("the end of the process", lambda: identify(compiler) is None)
    started.stop()
