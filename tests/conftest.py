"""Fixtures for all tests, and the check that a run leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes, kill
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.host.files import private_directory
from tests.leftovers import content_of, end_processes_naming, mounts_naming, processes_naming
from tests.waiting import until

SPARES = "PYRO_SPARES"
ROOT = Path(__file__).parents[1]

PYTEST_FOLDER = "pytest"
LEFT_BEHIND = 10
"""The exit code of a run that has left something: pytest's own end at 5."""
RUN_FOLDER = pytest.StashKey[Path]()
LEFT = pytest.StashKey[list[str]]()
HOMES = pytest.StashKey[dict[str, str]]()

# A shell starts what it puts into the background with SIGINT ignored, and the programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says more about what else the machine does than about the code; and the examples of one test
# may share its fixtures, which are folders that each example clears or adds to.
_NOT_CHECKED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("project", deadline=None, suppress_health_check=_NOT_CHECKED)
settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give this run one temporary folder, below which everything is that its tests and their programs make.

    It is directly below /tmp, because the path of a Unix socket has at most 108 bytes. Other users may pass through it.
    Spare machines would be there after a test that left nothing: only their own tests turn them on.
    """
    os.environ[SPARES] = "0"
    if config.option.basetemp is None:
        folder = Path(tempfile.mkdtemp(prefix="pyro-", dir="/tmp"))
        folder.chmod(0o711)
        config.option.basetemp = str(folder / PYTEST_FOLDER)
        config.stash[RUN_FOLDER] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the run when it leaves anything; else remove its folder, unless a test failed and the files may show why."""
    folder = session.config.stash.get(RUN_FOLDER, None)
    if folder is None:
        return
    with suppress(AssertionError):  # a process that was killed may still be ending
        until("nothing is left", lambda: run_leftovers(folder), lambda left: left == [], deadline_seconds=5)
    session.config.stash[LEFT] = left = run_leftovers(folder)
    if left and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = LEFT_BEHIND
    elif exitstatus == pytest.ExitCode.OK:
        subprocess.run(["rm", "-rf", folder], check=True)  # shutil.rmtree fails on a thousand nested folders


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what the run has left, what a folder holds, and the test whose home it was."""
    if left := config.stash.get(LEFT, None):
        terminalreporter.section("left behind by the tests", red=True)
        homes = config.stash.get(HOMES, {})
        for line in left:
            terminalreporter.line(f"{line} (the home of {homes[line]})" if line in homes else line)
            for inside in content_of(Path(line)) if os.path.isdir(line) else []:
                terminalreporter.line(f"    {inside}")


def run_leftovers(folder: Path) -> list[str]:
    """Name every process and mount of the run whose folder this is, and every file but those in pytest's own folder.

    Our own scratch folder may stay, if it is empty.
    """
    scratch = folder / f"pyro-mcp-{os.getuid()}-scratch"
    files = [str(path) for path in folder.iterdir() if path.name not in (PYTEST_FOLDER, scratch.name)]
    if scratch.exists():
        files += map(str, scratch.iterdir())
    return files + processes_naming(folder, anywhere=True) + mounts_naming(folder)


@pytest.fixture
def home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home with the XDG folders `cache`, `state` and `run` below it, removed afterwards.

    A process that still uses it then fails the test: what it writes would make the folder again.
    """
    path = Path(tempfile.mkdtemp(prefix="home-"))
    request.config.stash.setdefault(HOMES, {})[str(path)] = request.node.nodeid
    monkeypatch.setenv("HOME", str(path))
    for variable, name in (("XDG_CACHE_HOME", "cache"), ("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")):
        (path / name).mkdir(mode=0o700)
        monkeypatch.setenv(variable, str(path / name))
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    yield path
    left = end_processes_naming(path)
    shutil.rmtree(path)
    assert left == [], "the test has ended, and these processes still used its home"


def real_cache() -> Path:
    """Return the folder that keeps real images between runs: `$PYRO_TEST_CACHE/pyro-mcp`, or else one below build/."""
    given = os.environ.get("PYRO_TEST_CACHE")
    return private_directory(Path(given or ROOT / "build/test-cache").absolute() / "pyro-mcp")


@pytest.fixture(scope="session")
def warm_cache() -> Path:
    """A cache that holds `debian:12` and the guest kernel; to make it takes about 20 s."""
    cache = real_cache()
    environments = EnvironmentStore(cache)
    environments.pull("debian:12")
    environments.kernel()
    return cache


@pytest.fixture
def pyro(home: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pyro]:
    """The SDK with a state of its own and the shared cache; no machine may be left at the end."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    yield Pyro()
    left = find_processes(str(home))
    for identity in left:
        kill(identity, MachineSockets(home / "none"))
    assert left == []
