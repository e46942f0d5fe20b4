"""Names for ids, and errors of ours alone, in whatever state the host is."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.core.public_calls import public_calls
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NoSpace, NotFound, PyroError, own_error
from pyro_mcp.machines.lifecycle import Lifecycle
from pyro_mcp.workspaces.workspace_store import WorkspaceRecord, WorkspaceStore
from tests.machines.conftest import start


@public_calls
class Calls:
    """Two public methods, over one workspace that is named "fix"."""

    def first(self, workspace_id: str, text: str = "") -> tuple[str, str]:
        return workspace_id, text

    def later(self, text: str, *, workspace_id: str) -> tuple[str, str]:
        return workspace_id, text

    def failing(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/var/tmp/x")

    def _workspace_named(self, name: str) -> str:
        return {"fix": "ws-000000000001"}[name]


def test_a_name_stands_for_an_id_wherever_the_argument_is() -> None:
    calls = Calls()

    assert calls.first("fix", "x") == calls.first(workspace_id="fix", text="x") == ("ws-000000000001", "x")
    assert calls.later("x", workspace_id="fix") == ("ws-000000000001", "x")
    assert calls.first("ws-000000000002") == ("ws-000000000002", "")


def test_an_error_of_the_system_becomes_one_of_ours() -> None:
    with pytest.raises(NoSpace, match="/var/tmp/x: No space left") as raised:
        Calls().failing()

    assert "free some space" in raised.value.hint


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, HostNotReady),
        (errno.EFBIG, HostNotReady),
        (errno.EISDIR, InvalidRequest),
        (errno.EDQUOT, NoSpace),
        (errno.EIO, PyroError),
    ],
)
def test_each_error_of_the_system_has_its_kind(number: int, kind: type[PyroError]) -> None:
    assert type(own_error(OSError(number, "what happened"))) is kind


def test_a_name_that_several_have_is_refused_with_their_ids(lifecycle: Lifecycle) -> None:
    workspace_store = WorkspaceStore(lifecycle.store)
    for name in ("one", "two", "two"):
        workspace_store.add(WorkspaceRecord(start(lifecycle).id, name, {}, {}))  # type: ignore[typeddict-item] # no seed

    assert workspace_store.named("one").startswith("vm-")
    with pytest.raises(Conflict, match=r"2 workspaces are named 'two': vm-\w+, vm-\w+"):
        workspace_store.named("two")
    with pytest.raises(NotFound, match="there is no workspace 'three'"):
        workspace_store.named("three")


LIMITED = """
import os, resource, sys
from pyro_mcp import Pyro
from pyro_mcp.errors import PyroError
kind, least, most = getattr(resource, sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
failed = 0
for limit in range(least, most):
    child = os.fork()
    if child == 0:
        resource.setrlimit(kind, (limit, limit))
        try:
            Pyro().create_workspace("debian:12", seed_path=sys.argv[4])
            os._exit(0)
        except PyroError as error:
            os._exit(1 if error.message else 3)
        except BaseException as error:
            os.write(2, f"{limit}: {type(error).__name__}: {error}\\n".encode())
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), status
    failed += status
print(failed)
"""


@pytest.mark.parametrize(
    ("limit", "least", "most"), [("RLIMIT_NOFILE", 5, 16), ("RLIMIT_FSIZE", 0, 8)], ids=["open files", "file size"]
)
def test_a_limit_of_the_host_is_an_error_of_ours(limit: str, least: int, most: int, pyro: Pyro, home: Path) -> None:
    assert pyro.list_workspaces()["count"] == 0
    (home / "seed").mkdir()
    words = [sys.executable, "-c", LIMITED, limit, str(least), str(most), str(home / "seed")]
    told = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120, cwd=home)

    assert (told.returncode, told.stderr) == (0, "")
    assert int(told.stdout) == most - least


def test_a_working_folder_that_was_removed_is_named(home: Path) -> None:
    program = "import os; os.rmdir(os.getcwd()); from pyro_mcp.cli import main; raise SystemExit(main())"
    (home / "gone").mkdir()
    words = [sys.executable, "-c", program, "workspace", "export", "ws-1", "src", "--output", "./result"]
    told = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, cwd=home / "gone")

    assert told.returncode in {2, 3} and "Traceback" not in told.stderr
