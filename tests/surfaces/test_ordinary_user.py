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
from tests.conftest import SPARES
from tests.leftovers import end_processes_naming, machine_leftovers, until_makers_ended
from tests.waiting import until

SOMEBODY = 54321
PYTHON = ["/usr/bin/python3", "-m", "pyro_mcp.cli"]
_VERSION = "import sys; print('python%d.%d' % sys.version_info[:2])"
# Where `pip install --user` puts them.
PACKAGES = f".local/lib/{subprocess.check_output([PYTHON[0], '-c', _VERSION], text=True).strip()}/site-packages"

# As another user than root the whole suite shows it.
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="becomes an ordinary user: run the tests as root")

ACCELERATORS = pytest.mark.parametrize("accelerator", ["uml", "tcg"])


@pytest.fixture(scope="module")
def their_home(warm_cache: Path) -> Iterator[Path]:
    """The home of a user without an account or groups, with a copy of our package and of the images."""
    with tempfile.TemporaryDirectory(prefix="pyro-", dir="/tmp") as name:
        home = Path(name)
        shutil.copytree(Path(pyro_mcp.__file__).parent, home / PACKAGES / "pyro_mcp")
        for shelf in ("environments", "kernels"):
            shutil.copytree(warm_cache / shelf, home / "cache/pyro-mcp" / shelf, symlinks=True)
        for folder in ("state", "run"):
            (home / folder).mkdir()
        for path in (home, *home.rglob("*")):
            os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        yield home
        left = end_processes_naming(home)
    assert left == [], "the tests have ended, and these processes still used their home"


def environ_of(home: Path) -> dict[str, str]:
    """What that user's programs find in their environment: nothing of ours."""
    environ = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/bin"}
    environ |= {f"XDG_{name.upper()}_HOME": str(home / name) for name in ("cache", "state")}
    return environ | {"XDG_RUNTIME_DIR": str(home / "run"), SPARES: "0"}


def as_somebody(home: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `pyro` as that user, with `more` in the environment."""
    return subprocess.run(
        [*PYTHON, *words],
        user=SOMEBODY, group=SOMEBODY, extra_groups=[], cwd="/", env={**environ_of(home), **more},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_an_ordinary_user_is_told_that_all_is_there(their_home: Path) -> None:
    told = as_somebody(their_home, "doctor")

    assert told.returncode == 0, told.stdout
    assert "ready to run machines" in told.stdout


@ACCELERATORS
def test_an_ordinary_user_prepares_and_runs_machines(their_home: Path, accelerator: str) -> None:
    prepared = as_somebody(their_home, "prepare", "--accelerator", accelerator, "debian:12")
    assert prepared.returncode == 0, prepared.stderr

    ran = as_somebody(their_home, "run", "--accelerator", accelerator, "debian:12", "--", "sh", "-c", "id -u; exit 3")

    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "0\n", "")
    assert machine_leftovers(their_home) == []


def test_an_ordinary_user_takes_a_spare_machine(their_home: Path) -> None:
    def run(*words: str) -> str:
        done = as_somebody(their_home, *words, **{SPARES: "600"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    spares = their_home / "state/pyro-mcp/spares"
    run("run", "debian:12", "--", "true")
    (made,) = until("a spare is there", lambda: list(spares.glob("sp-*/record.json")), bool)
    run("run", "debian:12", "--", "true")
    assert not made.exists()
    assert "could not be used" not in (spares / ".log").read_text()
    until("the next one is there", lambda: list(spares.glob("sp-*/record.json")), bool)
    until_makers_ended(their_home)  # its record is there a moment before its lock is free
    run("workspace", "reap-expired")
    assert [path.name for path in spares.iterdir() if not path.name.startswith(".")] == []
    shutil.rmtree(spares)
    assert machine_leftovers(their_home) == []


def test_an_ordinary_user_who_owns_no_ids_is_told_how_to_build_environments(their_home: Path) -> None:
    told = as_somebody(their_home, "env", "pull", "debian:12-base")

    assert told.returncode == 5
    assert "Traceback" not in told.stderr
    assert "usermod --add-subuids" in told.stderr


@ACCELERATORS
def test_an_ordinary_user_gives_a_machine_network_without_root(their_home: Path, accelerator: str) -> None:
    # As on Debian, where everybody may open the device; only this process's view of /dev/net has it so.
    device = "mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
    become = f"setpriv --reuid {SOMEBODY} --regid {SOMEBODY} --clear-groups"
    fetch = (
        "import socket; s = socket.socket(); s.settimeout(20)\n"
        "try: s.connect(('10.9.8.7', 80)); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.recv(12)[-3:])\n"
        "except ConnectionError as error: print(error)"
    )
    words = ["run", "--accelerator", accelerator, "--network", "debian:12", "--", "python3", "-c", fetch]
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{device} && exec {become} "$@"', "sh", *PYTHON, *words],
        cwd="/", env=environ_of(their_home),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert (ran.stdout, ran.stderr) == ("b'403'\n", "")
    assert machine_leftovers(their_home) == []
