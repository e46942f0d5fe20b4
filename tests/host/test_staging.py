"""Results appear whole or not at all, and a killed maker leaves nothing that a later command does not remove."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host import staging
from pyro_mcp.host.staging import exchange, move_new, remove_abandoned_staging, staging_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from pyro_mcp.host import staging
target, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "between":
    exchange = staging.rename_with_flags
    def unknown(source, target, flags):
        raise OSError(22, "this file system cannot exchange names")
    staging.rename_with_flags = unknown
    rename = Path.rename
    def once(self, to):
        rename(self, to)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = once
with staging.staging_folder(target, Path(sys.argv[3])) as folder:
    (folder / "new").mkdir()
    (folder / "new/file").write_text("new")
    if moment != "before":
        staging.exchange(folder / "new", target)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An earlier result, in a folder where nothing else may be left."""
    (tmp_path / "out/target").mkdir(parents=True)
    (tmp_path / "out/target/file").write_text("old")
    return tmp_path / "out/target"


def notes(target: Path) -> Path:
    """The state folder of the tests about `target`."""
    folder = target.parents[1] / "state"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def left(target: Path) -> list[str]:
    """What is beside the target, and the notes in the state folder."""
    return sorted(path.name for path in [*target.parent.iterdir(), *notes(target).iterdir()] if path != target)


@pytest.mark.parametrize(("moment", "content"), [("before", "old"), ("between", "old"), ("after", "new")])
def test_a_killed_maker_leaves_the_old_result_or_the_new_one_and_nothing_else(
    target: Path, moment: str, content: str
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, target, moment, notes(target)], timeout=30, check=False)
    assert done.returncode == -signal.SIGKILL
    assert left(target) != []
    remove_abandoned_staging(notes(target))
    assert (target / "file").read_text() == content
    assert left(target) == []


def test_what_a_living_process_makes_is_left_alone(target: Path) -> None:
    with staging_folder(target, notes(target)) as folder:
        (folder / "new").write_text("new")
        remove_abandoned_staging(notes(target))
        assert (folder / "new").exists()
    assert left(target) == []


def test_a_note_cannot_lead_to_another_folder(target: Path, tmp_path: Path) -> None:
    with staging_folder(target, notes(target)):
        pass
    other = tmp_path / "other"
    other.mkdir()
    note = notes(target) / ".scratch-4194305-x"
    note.write_text(f'{{"folder": "{other}", "target": "{target}"}}')
    remove_abandoned_staging(notes(target))
    assert (other.exists(), note.exists()) == (True, False)


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two-renames"])
def test_a_replacement_and_a_placement(target: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EINVAL, "this file system cannot")

    if not exchanges:
        monkeypatch.setattr(staging, "rename_with_flags", unknown)
    with staging_folder(target, notes(target)) as folder:
        (folder / "new").mkdir()
        with pytest.raises(FileExistsError):
            move_new(folder / "new", target)
        (folder / "new/file").write_text("new")
        exchange(folder / "new", target)
        (folder / "more").write_text("more")
        move_new(folder / "more", target.with_name("more"))
    assert (target / "file").read_text() == "new"
    assert left(target) == ["more"]


def test_a_place_where_nothing_can_be_put_is_named(target: Path) -> None:
    with (
        pytest.raises(InvalidRequest, match="nothing can be put"),
        staging_folder(target / "file/below", notes(target)),
    ):
        pass
    assert left(target) == []
