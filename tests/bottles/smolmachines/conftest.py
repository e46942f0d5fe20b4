"""Fixtures for tests with the stand-in of smolvm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

STAND_IN = Path(__file__).with_name("smolvm_stand_in.py")


@pytest.fixture
def smolvm_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with the stand-in in its PATH; every machine is removed afterwards."""
    if os.getuid() != 0:
        pytest.skip("the stand-in enters namespaces: run the tests as root")
    programs = home / "bin"
    programs.mkdir()
    program = programs / "smolvm"
    program.symlink_to(STAND_IN)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    yield home
    for folder in (home / ".smolvm-stand-in").glob("*"):
        subprocess.run([program, "machine", "rm", "--name", folder.name, "--force"], check=True, timeout=120)


@pytest.fixture
def machine(smolvm_host: Path) -> str:
    """The name of a running machine."""
    assert (smolvm_host / "bin").is_dir()
    for words in (["create", "--name", "m"], ["start", "--name", "m"]):
        subprocess.run(["smolvm", "machine", *words], check=True, timeout=60, stdout=subprocess.DEVNULL)
    return "m"
