"""The result of a verb is on the disk when the verb returns, even if QEMU is killed the moment after."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.vm.processes import kill_machines_below

pytestmark = pytest.mark.accelerators("uml", "qemu")

PATCH = "--- a/kept.py\n+++ b/kept.py\n@@ -1 +1 @@\n-print('kept')\n+print('patched')\n"


@pytest.fixture
def workspace(pyro: Pyro, tmp_path: Path) -> Iterator[str]:
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "kept.py").write_text("print('kept')\n")
    id_ = pyro.create_workspace("debian:12", seed_path=seed)["workspace_id"]
    yield id_
    pyro.delete_workspace(id_)


def files(pyro: Pyro, id_: str) -> dict[str, str]:
    """Return the names and contents of the files in /workspace."""
    found = pyro.exec_workspace(id_, command="grep -r '' . | sort")["stdout"]
    return dict(line.removeprefix("./").split(":", 1) for line in found.splitlines())


def push(pyro: Pyro, id_: str, folder: Path) -> None:
    for number in range(50):
        (folder / f"{number}.txt").write_text(f"content {number}\n")
    pyro.push_workspace_sync(id_, folder, dest="pushed")


VERBS: dict[str, tuple[Callable[[Pyro, str, Path], object], dict[str, str]]] = {
    "write": (lambda pyro, id_, _: pyro.write_workspace_file(id_, "new.txt", text="new\n"), {"new.txt": "new"}),
    "overwrite": (
        lambda pyro, id_, _: pyro.write_workspace_file(id_, "kept.py", text="other\n"),
        {"kept.py": "other"},
    ),
    "write in a new folder": (
        lambda pyro, id_, _: pyro.write_workspace_file(id_, "a/b/c", text="deep\n"),
        {"a/b/c": "deep"},
    ),
    "patch": (lambda pyro, id_, _: pyro.apply_workspace_patch(id_, patch=PATCH), {"kept.py": "print('patched')"}),
    "push": (push, {f"pushed/{number}.txt": f"content {number}" for number in range(50)}),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_result_of_a_verb_survives_a_killed_qemu(
    pyro: Pyro, home: Path, tmp_path: Path, workspace: str, verb: str
) -> None:
    act, expected = VERBS[verb]
    source = tmp_path / "source"
    source.mkdir()
    pyro.exec_workspace(workspace, command="sync")
    act(pyro, workspace, source)
    kill_machines_below(home)
    pyro.start_workspace(workspace)
    assert files(pyro, workspace) == {"kept.py": "print('kept')"} | expected


def test_a_push_during_which_qemu_is_killed_is_completed_or_undone(pyro: Pyro, home: Path, tmp_path: Path) -> None:
    seeded, earlier, source = (tmp_path / name for name in ("seed", "earlier", "source"))
    names = [f"{number:03}.txt" for number in range(600)]
    for folder, some, text in (
        (seeded / "pushed", names[:300], "old"),
        (earlier, names[300:], "old"),
        (source, names, "new"),
    ):
        folder.mkdir(parents=True)
        for name in some:
            (folder / name).write_text(f"{text}\n")
    id_ = pyro.create_workspace("debian:12", seed_path=seeded)["workspace_id"]
    pyro.push_workspace_sync(id_, earlier, dest="pushed")
    with ThreadPoolExecutor() as pool:
        pushed = pool.submit(pyro.push_workspace_sync, id_, source, dest="pushed")
        # What is half made by then is on the disk.
        pyro.exec_workspace(id_, command="until grep -q new pushed/000.txt; do :; done; sync", timeout_seconds=60)
        kill_machines_below(home)
        made = pushed.exception() is None
    pyro.start_workspace(id_)
    found = files(pyro, id_)
    texts = {found[f"pushed/{name}"] for name in names}
    assert texts == {"new"} if made else texts in ({"old"}, {"new"})
    assert len(found) == len(names)  # nothing is left over
    pyro.delete_workspace(id_)


def test_a_snapshot_survives_a_killed_qemu(pyro: Pyro, home: Path, workspace: str) -> None:
    pyro.exec_workspace(workspace, command="echo before > state")
    pyro.create_snapshot(workspace, "good")
    kill_machines_below(home)
    pyro.start_workspace(workspace)
    assert files(pyro, workspace)["state"] == "before"
    pyro.write_workspace_file(workspace, "state", text="after\n")
    pyro.reset_workspace(workspace, snapshot="good")
    assert files(pyro, workspace) == {"kept.py": "print('kept')", "state": "before"}


def test_a_workspace_is_reached_and_kept_under_another_runtime_folder(
    pyro: Pyro, home: Path, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyro.write_workspace_file(workspace, "earlier", text="written\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "another"))
    shutil.rmtree(home / "run")
    other = Pyro()
    other.exec_workspace(workspace, command="echo written > later")
    assert other.stop_workspace(workspace)["state"] == "stopped"
    other.start_workspace(workspace)
    assert files(other, workspace) == {"kept.py": "print('kept')", "earlier": "written", "later": "written"}
