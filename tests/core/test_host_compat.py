"""A workspace where no guest can run: only when it is allowed, and always told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.errors import Conflict, HostNotReady, PyroError

PATCH = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"


@pytest.fixture
def pyro(home: Path, warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Pyro:
    """The SDK on a host where no machine starts."""
    assert home.exists()
    monkeypatch.setenv("XDG_CACHE_HOME", str(warm_cache.parent))
    engine = FakeEngine()
    engine.failures["start"] = HostNotReady("no machine starts here")
    return Pyro(engine=engine)


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    folder = tmp_path / "seed"
    folder.mkdir()
    (folder / "message.txt").write_text("broken\n")
    return folder


@pytest.fixture
def workspace(pyro: Pyro, seed: Path) -> Iterator[str]:
    made = pyro.create_workspace("debian:12", seed_path=seed, allow_host_compat=True)
    assert (made["execution_mode"], made["allow_host_compat"], made["state"]) == ("host_compat", True, "running")
    assert made["workspace_seed"]["entry_count"] == 1
    yield made["workspace_id"]
    pyro.delete_workspace(made["workspace_id"])
    assert pyro.list_workspaces()["count"] == 0


def test_without_leave_nothing_is_made(pyro: Pyro, seed: Path) -> None:
    with pytest.raises(HostNotReady, match="no machine starts here"):
        pyro.create_workspace("debian:12", seed_path=seed)
    assert pyro.list_workspaces()["count"] == 0


def test_commands_and_file_work_go_on_without_a_guest(pyro: Pyro, workspace: str, tmp_path: Path) -> None:
    ran = pyro.exec_workspace(workspace, command="cat message.txt; pwd; exit 3")
    assert (ran["stdout"], ran["exit_code"], ran["execution_mode"]) == ("broken\n/workspace\n", 3, "host_compat")
    assert pyro.apply_workspace_patch(workspace, patch=PATCH)["entries"][0]["status"] == "modified"
    assert pyro.read_workspace_file(workspace, "message.txt")["content"] == "fixed\n"
    pyro.write_workspace_file(workspace, "deep/new.txt", text="new\n")
    assert [entry["path"] for entry in pyro.list_workspace_files(workspace, recursive=True)["entries"]] == [
        "/workspace/deep", "/workspace/deep/new.txt", "/workspace/message.txt"
    ]  # fmt: skip
    pyro.export_workspace(workspace, "deep", output_path=tmp_path / "out")
    assert (tmp_path / "out/new.txt").read_text() == "new\n"
    pyro.stop_workspace(workspace)
    assert pyro.start_workspace(workspace)["execution_mode"] == "host_compat"
    assert pyro.read_workspace_file(workspace, "message.txt")["content"] == "fixed\n"
    assert pyro.summarize_workspace(workspace)["changes"] == {"available": False}


def test_what_needs_a_guest_says_so(pyro: Pyro, workspace: str, tmp_path: Path) -> None:
    for call in (
        lambda: pyro.diff_workspace(workspace),
        lambda: pyro.create_snapshot(workspace, "one"),
        lambda: pyro.reset_workspace(workspace),
        lambda: pyro.fork_workspace(workspace),
        lambda: pyro.open_shell(workspace),
        lambda: pyro.start_service(workspace, "app", command="true"),
        lambda: pyro.list_workspace_disk(workspace),
        lambda: pyro.export_workspace_disk(workspace, output_path=tmp_path / "disk"),
    ):
        with pytest.raises(Conflict, match=r"without a guest|host_compat"):
            call()
    assert pyro.status_workspace(workspace)["state"] == "running"


@pytest.mark.parametrize(
    "more", [{"network_policy": "egress"}, {"secrets": [{"name": "TOKEN", "value": "a-value-of-some-length"}]}]
)
def test_network_and_secrets_need_a_guest(pyro: Pyro, more: dict[str, object]) -> None:
    with pytest.raises(PyroError):
        pyro.create_workspace("debian:12", allow_host_compat=True, **more)  # type: ignore[arg-type]
    assert pyro.list_workspaces()["count"] == 0
