"""Workspaces on real machines, through the SDK."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound, PyroError
from tests.vm.conftest import Create


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """A small project: text, a script, a link, a folder."""
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "README.md").write_text("a project\n")
    (folder / "src/main.py").write_text("print('hello')\n")
    (folder / "run.sh").write_text("#!/bin/sh\nexec python3 src/main.py\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "latest").symlink_to("src/main.py")
    return folder


def output(pyro: Pyro, id_: str, command: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = pyro.exec_workspace(id_, command=command)
    assert done["exit_code"] == 0, done["stderr"]
    return done["stdout"]


def test_a_workspace_begins_as_its_seed(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed, name="first", labels={"task": "demo"})
    assert output(pyro, id_, "./run.sh && cat README.md && readlink latest && stat -c %U run.sh").splitlines() == [
        "hello", "a project", "src/main.py", "root"
    ]  # fmt: skip
    status = pyro.status_workspace(id_)
    assert (status["name"], status["labels"], status["state"]) == ("first", {"task": "demo"}, "running")
    assert status["workspace_seed"]["mode"] == "directory"
    assert status["execution_mode"] == "guest_virtio"
    assert not pyro.diff_workspace(id_)["changed"]


def test_what_a_command_does_stays_until_a_reset(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo more >> README.md && rm -r src && touch /etc/installed")
    assert pyro.diff_workspace(id_)["changed"]
    fresh = pyro.reset_workspace(id_)
    assert fresh["reset_count"] == 1 and fresh["last_reset_at"] is not None and fresh["command_count"] == 0
    assert output(pyro, id_, "cat README.md src/main.py; test -e /etc/installed || echo gone").splitlines() == [
        "a project", "print('hello')", "gone"
    ]  # fmt: skip
    assert not pyro.diff_workspace(id_)["changed"]
    assert [entry["sequence"] for entry in pyro.logs_workspace(id_)["entries"]] == [1]


def test_a_snapshot_is_a_point_to_reset_to(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo one > step && touch /etc/installed")
    pyro.create_snapshot(id_, "one")
    output(pyro, id_, "echo two > step && echo extra > extra")
    pyro.create_snapshot(id_, "two")
    output(pyro, id_, "rm step extra README.md")
    pyro.reset_workspace(id_, snapshot="one")
    assert output(pyro, id_, "cat step; ls extra /etc/installed 2>&1 | wc -l") == "one\n2\n"
    pyro.delete_snapshot(id_, "one")
    pyro.reset_workspace(id_, snapshot="two")
    assert output(pyro, id_, "cat step extra README.md").splitlines() == ["two", "extra", "a project"]
    assert [one["snapshot_name"] for one in pyro.list_snapshots(id_)["snapshots"]] == ["baseline", "two"]


def test_a_snapshot_with_its_system_brings_back_what_was_installed(pyro: Pyro, create: Create) -> None:
    id_ = create()
    output(pyro, id_, "touch plain /srv/first")
    pyro.create_snapshot(id_, "plain")
    output(pyro, id_, "touch deps /srv/second && rm -r /usr/share/git-core")
    pyro.create_snapshot(id_, "deps", with_system=True)
    look = "ls /workspace /srv; test -e /usr/share/git-core || echo removed"

    assert not pyro.reset_workspace(id_)["with_system"]
    assert output(pyro, id_, look).split() == ["/srv:", "/workspace:"]
    output(pyro, id_, "touch /srv/third")
    pyro.create_snapshot(id_, "third")
    assert pyro.reset_workspace(id_, snapshot="deps")["with_system"]
    there = ["/srv:", "first", "second", "/workspace:", "deps", "plain", "removed"]
    assert output(pyro, id_, look).split() == there
    for plain in ("third", "plain"):  # neither may find a system that an earlier generation left in its layers
        pyro.reset_workspace(id_, snapshot=plain)
        assert "first" not in output(pyro, id_, look) and "third" not in output(pyro, id_, look)
    pyro.reset_workspace(id_, snapshot="deps")
    pyro.stop_workspace(id_)
    pyro.start_workspace(id_)
    assert output(pyro, id_, look).split() == there


def test_snapshot_names_are_checked(pyro: Pyro, create: Create) -> None:
    id_ = create()
    pyro.create_snapshot(id_, "taken")
    with pytest.raises(Conflict):
        pyro.create_snapshot(id_, "taken")
    with pytest.raises(Conflict):
        pyro.create_snapshot(id_, "baseline")
    with pytest.raises(InvalidRequest):
        pyro.create_snapshot(id_, "../up")
    with pytest.raises(NotFound, match="unknown"):
        pyro.reset_workspace(id_, snapshot="unknown")
    with pytest.raises(InvalidRequest):
        pyro.delete_snapshot(id_, "baseline")


def test_a_stopped_workspace_keeps_everything(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo kept > kept && echo package > /usr/local/bin/package")
    pyro.create_snapshot(id_, "point")
    assert pyro.stop_workspace(id_)["state"] == "stopped"
    with pytest.raises(Conflict, match="stopped"):
        pyro.exec_workspace(id_, command="true")
    assert pyro.start_workspace(id_)["state"] == "running"
    assert output(pyro, id_, "cat kept /usr/local/bin/package") == "kept\npackage\n"
    assert len(pyro.list_snapshots(id_)["snapshots"]) == 2
    assert pyro.logs_workspace(id_)["count"] == 2


def test_a_fork_is_independent_from_then_on(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo shared > file && touch /etc/installed")
    fork = pyro.fork_workspace(id_, name="second")
    output(pyro, id_, "echo first > file")
    output(pyro, fork["workspace_id"], "test -e /etc/installed && cat file && echo second > file")
    assert output(pyro, id_, "cat file") == "first\n"
    pyro.delete_workspace(id_)
    assert output(pyro, fork["workspace_id"], "cat file README.md") == "second\na project\n"
    pyro.reset_workspace(fork["workspace_id"])
    assert output(pyro, fork["workspace_id"], "ls file 2>&1 | wc -l; cat README.md") == "1\na project\n"


def test_files_are_read_written_and_listed(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    written = pyro.write_workspace_file(id_, "deep/er/new.txt", text="grüße\n")
    assert written["bytes_written"] == len("grüße\n".encode())
    assert pyro.read_workspace_file(id_, "/workspace/deep/er/new.txt")["content"] == "grüße\n"
    pyro.write_workspace_file(id_, "run.sh", text="#!/bin/sh\necho changed\n")
    assert output(pyro, id_, "./run.sh; cat deep/er/new.txt") == "changed\ngrüße\n"
    listed = {entry["path"]: entry["artifact_type"] for entry in pyro.list_workspace_files(id_)["entries"]}
    assert listed["/workspace/latest"] == "symlink" and listed["/workspace/src"] == "directory"
    with pytest.raises(PyroError):
        pyro.read_workspace_file(id_, "src")
    with pytest.raises(PyroError):
        pyro.read_workspace_file(id_, "../etc/passwd")


def test_a_patch_goes_in_and_the_diff_comes_out(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    patch = (
        "--- a/README.md\n+++ b/README.md\n@@ -1 +1,2 @@\n a project\n+with a second line\n"
        "--- /dev/null\n+++ b/docs/new.md\n@@ -0,0 +1 @@\n+new\n"
    )
    assert pyro.apply_workspace_patch(id_, patch=patch)["changed"]
    assert output(pyro, id_, "cat README.md docs/new.md").splitlines() == ["a project", "with a second line", "new"]
    diff = pyro.diff_workspace(id_)
    assert {entry["path"]: entry["status"] for entry in diff["entries"] if entry["status"] != "added"} == {
        "README.md": "modified"
    }
    assert "+with a second line" in diff["patch"]
    with pytest.raises(InvalidRequest):
        pyro.apply_workspace_patch(id_, patch=patch)
    assert output(pyro, id_, "cat README.md") == "a project\nwith a second line\n"


def test_an_export_leaves_the_tree_on_the_host(pyro: Pyro, create: Create, seed: Path, tmp_path: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo result > src/result && ln -s /etc/passwd src/out")
    done = pyro.export_workspace(id_, "src", output_path=tmp_path / "out")
    assert (tmp_path / "out/result").read_text() == "result\n"
    assert not (tmp_path / "out/out").exists() and done["skipped"]
    with pytest.raises(PyroError):
        pyro.export_workspace(id_, "src", output_path=tmp_path / "out")


def test_later_host_content_is_pushed_in(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    (seed / "README.md").write_text("newer\n")
    done = pyro.push_workspace_sync(id_, seed, dest="/workspace")
    assert output(pyro, id_, "cat README.md") == "newer\n"
    assert any(path.endswith("README.md") for path in done["overwritten"])


def test_the_summary_counts_commands_edits_and_changes(pyro: Pyro, create: Create, seed: Path) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo x > x")
    pyro.exec_workspace(id_, command="exit 3")
    pyro.write_workspace_file(id_, "note", text="note\n")
    review = pyro.summarize_workspace(id_)
    assert review["outcome"]["commands"] == 2 and review["outcome"]["failed_commands"] == 1
    assert review["outcome"]["edits"] == 1
    assert review["changes"]["added"] == 2


def test_the_summary_begins_anew_with_a_reset(pyro: Pyro, create: Create) -> None:
    id_ = create()
    pyro.write_workspace_file(id_, "before.txt", text="gone with the reset\n")
    pyro.reset_workspace(id_)
    assert pyro.summarize_workspace(id_)["outcome"]["edits"] == 0
    pyro.write_workspace_file(id_, "after.txt", text="kept\n")
    assert pyro.summarize_workspace(id_)["outcome"]["edits"] == 1


def test_the_list_begins_with_the_most_recently_used(pyro: Pyro, create: Create) -> None:
    first, second = create(name="same"), create(name="same")
    assert [one["workspace_id"] for one in pyro.list_workspaces()["workspaces"]] == [second, first]
    output(pyro, first, "true")
    pyro.update_workspace(first, labels={"k": "v"}, clear_name=True)
    listed = pyro.list_workspaces()["workspaces"]
    assert [one["workspace_id"] for one in listed] == [first, second]
    assert (listed[0]["name"], listed[0]["labels"], listed[0]["command_count"]) == (None, {"k": "v"}, 1)


def test_a_delete_ends_the_command_that_runs(pyro: Pyro, create: Create) -> None:
    id_ = create()
    started, raised = threading.Event(), []

    def work() -> None:
        try:
            pyro.exec_workspace(id_, command="echo up; sleep 60", on_stdout=lambda _: started.set())
        except PyroError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    pyro.delete_workspace(id_)
    thread.join(20)
    assert not thread.is_alive() and raised
    with pytest.raises(NotFound, match="there is no workspace"):
        pyro.status_workspace(id_)


def test_two_commands_run_side_by_side(pyro: Pyro, create: Create) -> None:
    id_ = create()
    output(pyro, id_, "mkfifo meet")
    waiting = threading.Thread(target=lambda: output(pyro, id_, "cat meet > met"))
    waiting.start()
    output(pyro, id_, "echo hello > meet")
    waiting.join(20)
    assert output(pyro, id_, "cat met") == "hello\n"


def test_as_many_silent_commands_as_there_are_connections_run_at_once(pyro: Pyro, create: Create) -> None:
    id_ = create()
    with ThreadPoolExecutor(16) as pool:
        ended = [pool.submit(pyro.exec_workspace, id_, command="sleep 5") for _ in range(16)]
        assert [one.result(60)["exit_code"] for one in ended] == [0] * 16


def test_a_stopped_disk_can_be_listed_read_and_exported_without_a_start(
    pyro: Pyro, create: Create, seed: Path, tmp_path: Path
) -> None:
    id_ = create(seed_path=seed)
    output(pyro, id_, "echo changed > README.md && echo tool > /usr/local/bin/tool && ln -s /etc/passwd leak")
    with pytest.raises(Conflict, match="stop it first"):
        pyro.list_workspace_disk(id_)
    pyro.stop_workspace(id_)
    listed = {entry["path"]: entry["artifact_type"] for entry in pyro.list_workspace_disk(id_)["entries"]}
    assert listed["/workspace/README.md"] == "file" and listed["/workspace/leak"] == "symlink"
    assert pyro.read_workspace_disk(id_, "/workspace/README.md")["content"] == "changed\n"
    assert pyro.read_workspace_disk(id_, "/usr/local/bin/tool")["content"] == "tool\n"
    done = pyro.export_workspace_disk(id_, output_path=tmp_path / "disk.ext4")
    checked = subprocess.run(["/sbin/e2fsck", "-fn", tmp_path / "disk.ext4"], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout
    dump = ["/sbin/debugfs", "-R", "cat /workspace/README.md", str(tmp_path / "disk.ext4")]
    assert subprocess.run(dump, capture_output=True, check=True).stdout == b"changed\n"
    assert done["allocated_bytes"] < done["size_bytes"]
    assert pyro.status_workspace(id_)["state"] == "stopped"
    pyro.start_workspace(id_)
    assert output(pyro, id_, "cat README.md") == "changed\n"
