"""Folders, locks and files that appear whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.errors import Busy, HostNotReady, NoSpace
from pyro_mcp.host.files import (
    abandoned_scratch,
    atomic_folder,
    cache_home,
    locked,
    private_directory,
    state_home,
    write_atomic,
    write_durable,
    write_private,
)

DEADLINE = 20.0


PREPARE = """
import sys
from pathlib import Path
from pyro_mcp.host.files import locked, atomic_folder
target = Path(sys.argv[1])
"""


@contextmanager
def another_process(code: str, target: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs `code` to the point where it prints "ready", and goes on when told; killed at the end."""
    argv: list[str | Path] = [sys.executable, "-c", PREPARE + code, target]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


HOLD = """
with locked(target, deadline_seconds=5, shared=SHARED):
    print('ready', flush=True)
    sys.stdin.readline()
    REMOVE and target.unlink()
"""


def holding(*, shared: bool = False, remove: bool = False) -> str:
    return HOLD.replace("SHARED", str(shared)).replace("REMOVE", str(remove))


# Locks


def test_a_lock_is_for_one_process_and_others_are_told_what_is_in_use(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        another_process(holding(), lock),
        pytest.raises(Busy, match="the thing is in use"),
        locked(lock, deadline_seconds=0, what="the thing"),
    ):
        pass


def test_a_lock_excludes_a_second_holder_in_the_same_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, deadline_seconds=0), pytest.raises(Busy), locked(lock, deadline_seconds=0.02):
        pass
    with locked(lock, deadline_seconds=0):
        assert lock.exists()


def test_shared_holders_bear_each_other_but_no_exclusive_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with another_process(holding(shared=True), lock):
        with locked(lock, deadline_seconds=0, shared=True):
            assert lock.exists()
        with pytest.raises(Busy), locked(lock, deadline_seconds=0):
            pass
    with another_process(holding(), lock), pytest.raises(Busy), locked(lock, deadline_seconds=0, shared=True):
        pass


def test_a_lock_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with another_process(holding(), lock) as holder:
        holder.kill()
        holder.wait(DEADLINE)
        with locked(lock, deadline_seconds=0):
            assert lock.exists()


def test_one_who_waits_gets_the_lock_when_it_is_given_back(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with another_process(holding(), lock) as holder:
        assert holder.stdin is not None
        threading.Timer(0.05, holder.stdin.close).start()
        with locked(lock, deadline_seconds=DEADLINE):
            assert holder.wait(DEADLINE) == 0


def test_one_who_waits_gets_a_lock_that_is_there_when_its_holder_has_removed_the_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with another_process(holding(remove=True), lock) as holder:
        assert holder.stdin is not None
        threading.Timer(0.05, holder.stdin.close).start()
        with locked(lock, deadline_seconds=DEADLINE) as fd:
            assert os.path.samestat(os.fstat(fd), lock.stat())
            with pytest.raises(Busy), locked(lock, deadline_seconds=0):
                pass


def test_an_empty_folder_in_the_place_of_a_lock_makes_room_for_it(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with locked(tmp_path / "lock", deadline_seconds=1):
        assert (tmp_path / "lock").is_file()


def test_a_folder_with_content_in_the_place_of_a_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock/more").mkdir(parents=True)
    with (
        pytest.raises(HostNotReady, match="folder where a lock file belongs"),
        locked(tmp_path / "lock", deadline_seconds=1),
    ):
        pass
    assert (tmp_path / "lock/more").exists()


def test_a_lock_does_not_reach_the_programs_we_start(tmp_path: Path) -> None:
    with locked(tmp_path / "lock", deadline_seconds=0) as fd:
        assert not os.get_inheritable(fd)


# Publishing


def test_a_published_folder_appears_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with atomic_folder(target) as scratch:
        (scratch / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert os.listdir(target.parent) == ["target"]


def test_an_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with atomic_folder(tmp_path / "target") as scratch:
            (scratch / name).touch()
    assert os.listdir(tmp_path / "target") == ["two"]
    assert os.listdir(tmp_path) == ["target"]


def test_an_error_leaves_the_older_folder_and_nothing_else(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as scratch:
        (scratch / "file").write_text("old")

    def fail() -> None:
        with atomic_folder(tmp_path / "target") as scratch:
            (scratch / "file").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "target/file").read_text() == "old"
    assert os.listdir(tmp_path) == ["target"]


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="full") as raised, atomic_folder(tmp_path / "target"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "prune_environments()" in raised.value.hint
    with pytest.raises(PermissionError), atomic_folder(tmp_path / "target"):
        raise PermissionError(errno.EACCES, "Permission denied")
    assert os.listdir(tmp_path) == []


def test_a_crash_leaves_only_scratch_that_is_found_when_its_maker_is_gone(tmp_path: Path) -> None:
    code = (
        "with atomic_folder(target) as scratch:\n (scratch / 'x').touch(); print('ready', flush=True); sys.stdin.read()"
    )
    with another_process(code, tmp_path / "target") as maker:
        (scratch,) = tmp_path.iterdir()
        assert abandoned_scratch(tmp_path) == []
        maker.kill()
        maker.wait(DEADLINE)
        assert abandoned_scratch(tmp_path) == [scratch]
    assert not (tmp_path / "target").exists()


def test_a_temporary_folder_outlives_a_killed_process_only_until_the_next_is_made(home: Path) -> None:
    code = (
        f"import sys, tempfile; tempfile.tempdir = {str(home)!r}\n"
        "from pyro_mcp.host.files import temporary_folder\n"
        "with temporary_folder() as made: print(made, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        left = Path(maker.stdout.readline().strip())
        (left / "file").touch()
        maker.kill()
    again = subprocess.run(argv, input="", capture_output=True, text=True, timeout=DEADLINE, check=True)
    assert not left.exists()
    assert not Path(again.stdout.strip()).exists()


def test_links_and_folders_can_be_published(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "target") as scratch:
        (scratch / "folder").mkdir()
        (scratch / "dangling").symlink_to("/nowhere")
    assert os.readlink(tmp_path / "target/dangling") == "/nowhere"


# Folders


def test_a_private_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    path = private_directory(tmp_path / "a" / "b")
    assert path.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(HostNotReady, match="only you can write"):
        private_directory(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o777


def test_a_folder_that_is_made_is_closed_to_others(tmp_path: Path) -> None:
    assert private_directory(tmp_path / "a/b").stat().st_mode & 0o777 == 0o700


def test_a_link_or_a_file_in_place_of_a_private_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "dangling", "file"):
        with pytest.raises(HostNotReady):
            private_directory(tmp_path / name)
    assert not (tmp_path / "nowhere").exists()


def test_a_private_file_is_new_and_closed_to_others(tmp_path: Path) -> None:
    write_private(tmp_path / "file", b"secret")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_private(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b"secret"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of somebody else")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(HostNotReady, match="only you can write"):
        private_directory(tmp_path)


def test_the_folders_follow_the_xdg_rules(home: Path) -> None:
    assert cache_home() == home / "cache/pyro-mcp"
    assert state_home() == home / "state/pyro-mcp"


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_an_empty_or_relative_xdg_value_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, value)
    monkeypatch.chdir(home)
    assert cache_home() == home / ".cache/pyro-mcp"
    assert state_home() == home / ".local/state/pyro-mcp"


def test_a_folder_without_parents_is_not_made_below_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match="gone"):
        private_directory(tmp_path / "gone/folder", parents=False)
    with pytest.raises(HostNotReady, match="gone"):
        write_atomic(tmp_path / "gone/folder/file", "text", parents=False)
    assert list(tmp_path.iterdir()) == []
    assert private_directory(tmp_path / "folder", parents=False).stat().st_mode & 0o777 == 0o700


def test_a_durable_file_is_flushed_before_it_has_its_name_and_its_name_is_flushed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "keys", []

    def fsync(fd: int) -> None:
        flushed.append((Path(os.readlink(f"/proc/self/fd/{fd}")).is_dir(), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durable(path, "first")
    assert flushed == [(False, False), (True, True)]
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("first", 0o600)

    write_durable(path, b"second", mode=0o644)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("second", 0o644)
    assert list(tmp_path.iterdir()) == [path]


def test_a_durable_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    write_durable(path, "old")

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace):
        write_durable(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
