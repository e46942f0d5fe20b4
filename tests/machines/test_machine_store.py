"""The database: shared by processes, never lost to a newer or damaged file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_mcp.errors import Busy, Conflict, HostNotReady, NotFound
from pyro_mcp.host.process_identity import Identity
from pyro_mcp.machines.machine_store import MachineRecord, MachineStore
from pyro_mcp.machines.phases import Phase

DEADLINE = 60.0
RECORD = MachineRecord("vm-1", "debian:12", "1", 1, 1024, True, Phase.CREATED, 1000.0, 2000.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pyro.db"


def test_what_was_added_is_read_back(path: Path) -> None:
    MachineStore(path).add(RECORD)
    assert MachineStore(path).get("vm-1") == RECORD
    assert MachineStore(path).all() == [RECORD]


def test_a_move_changes_what_it_was_given_and_nothing_else(path: Path) -> None:
    store = MachineStore(path)
    store.add(RECORD)
    store.add(replace(RECORD, id="vm-2"))
    moved = store.set_phase("vm-1", Phase.STARTING, pid=7, process_start_time=8, execution_mode="guest_virtio")
    assert moved == replace(RECORD, phase=Phase.STARTING, pid=7, process_start_time=8, execution_mode="guest_virtio")
    assert moved.identity == Identity(7, 8)
    assert store.get("vm-1") == moved
    assert store.get("vm-2") == replace(RECORD, id="vm-2")


def test_a_forbidden_move_changes_nothing(path: Path) -> None:
    store = MachineStore(path)
    store.add(RECORD)
    with pytest.raises(Conflict):
        store.set_phase("vm-1", Phase.RUNNING, pid=7)
    with pytest.raises(ValueError, match="no such column"):
        store.set_phase("vm-1", Phase.STARTING, None, **{"phase = 'x' --": "x"})
    assert store.get("vm-1") == RECORD


def test_the_newest_machine_comes_first(path: Path) -> None:
    store = MachineStore(path)
    for number, created_at in ((1, 10.0), (2, 30.0), (3, 20.0)):
        store.add(replace(RECORD, id=f"vm-{number}", created_at=created_at))
    assert [record.id for record in store.all()] == ["vm-2", "vm-3", "vm-1"]


def test_an_unknown_machine_is_not_found(path: Path) -> None:
    store = MachineStore(path)
    store.remove("vm-9")
    with pytest.raises(NotFound, match="vm-9"):
        store.get("vm-9")
    with pytest.raises(NotFound, match="vm-9"):
        store.set_phase("vm-9", Phase.DELETING)


def test_an_id_is_never_part_of_a_statement(path: Path) -> None:
    store = MachineStore(path)
    store.add(replace(RECORD, id="x'; DROP TABLE machines; --"))
    store.remove("' OR 1=1 --")
    assert len(store.all()) == 1


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    MachineStore(path).add(RECORD)
    assert MachineStore(path).get("vm-1") == RECORD


def test_a_database_that_is_removed_while_a_client_is_open_is_made_anew(path: Path) -> None:
    store = MachineStore(path)
    store.add(RECORD)
    for file in path.parent.glob("pyro.db*"):
        file.unlink()
    assert store.all() == []
    store.add(replace(RECORD, id="vm-2"))
    assert [record.id for record in MachineStore(path).all()] == ["vm-2"]


def test_a_newer_database_is_refused_and_left_as_it_is(path: Path) -> None:
    MachineStore(path).add(RECORD)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 999")
    before = path.read_bytes()
    with pytest.raises(HostNotReady, match="newer pyro") as raised:
        MachineStore(path).check()
    assert "upgrade" in raised.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 100, 4096 + 100])
def test_a_damaged_database_is_refused_and_left_as_it_is(path: Path, keep: int) -> None:
    MachineStore(path).add(RECORD)
    damaged = path.read_bytes()[:keep] + b"not a database " * 1000
    path.write_bytes(damaged)
    with pytest.raises(HostNotReady, match="damaged") as raised:
        MachineStore(path).add(replace(RECORD, id="vm-2"))
    assert "adopt_workspace()" in raised.value.hint
    assert path.read_bytes() == damaged


def test_a_database_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostNotReady, match="cannot use the database"):
        MachineStore(tmp_path).check()


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    store = MachineStore(path)
    store.add(RECORD)
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('DELETE FROM machines'); print('written', flush=True); sys.stdin.read(); c.execute('COMMIT')"
    )
    argv: list[str | Path] = [sys.executable, "-c", script, path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        assert MachineStore(path).all() == [RECORD]
        writer.communicate(timeout=DEADLINE)
    assert store.all() == []


def test_a_writer_that_was_killed_changes_nothing(path: Path) -> None:
    MachineStore(path).add(RECORD)
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('DELETE FROM machines'); print('written', flush=True); sys.stdin.read()"
    )
    argv: list[str | Path] = [sys.executable, "-c", script, path]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        writer.kill()
    assert MachineStore(path).set_phase("vm-1", Phase.DELETING).id == "vm-1"


def test_many_processes_create_the_database_and_write_to_it_at_once(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "from pyro_mcp.machines.machine_store import MachineRecord, MachineStore\n"
        "from pyro_mcp.machines.phases import Phase\n"
        "one = MachineRecord('', 'debian:12', '1', 1, 1024, False, Phase.CREATED, 1.0, 2.0)\n"
        "print('ready', flush=True); sys.stdin.readline(); store = MachineStore(Path(sys.argv[1]))\n"
        "for number in range(20): store.add(replace(one, id=f'vm-{sys.argv[2]}-{number}'))"
    )
    argvs: list[list[str | Path]] = [[sys.executable, "-c", script, path, str(number)] for number in range(6)]
    writers = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for argv in argvs]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=DEADLINE)
    assert [writer.returncode for writer in writers] == [0] * 6
    assert len(MachineStore(path).all()) == 120


WRITER = """
import os, signal, sys
from pathlib import Path
from pyro_mcp.machines.phases import Phase
from pyro_mcp.machines.machine_store import MachineStore as Store
with Store(Path(sys.argv[1])).transaction():
    print("writing", flush=True)
    if sys.argv[2] == "suspended":
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.stdin.read()
print("done", flush=True)
"""


@contextmanager
def writing(path: Path, how: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process in the middle of a transaction."""
    argv: list[str | Path] = [sys.executable, "-c", WRITER, path, how]
    # A group of its own: the kernel ignores Ctrl-Z for a group whose leader's parent has gone, as under some CI.
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        try:
            yield writer
        finally:
            writer.kill()


def test_a_writer_is_told_which_suspended_process_it_waits_for_and_what_to_do(path: Path) -> None:
    MachineStore(path).add(RECORD)
    with writing(path, "suspended") as writer:
        os.waitpid(writer.pid, os.WUNTRACED)
        started = time.monotonic()
        with pytest.raises(Busy, match=rf"process {writer.pid} \(.*, suspended\)") as raised:
            MachineStore(path).remove("vm-1")
        assert time.monotonic() - started < 9  # it would wait 10 s for a process that goes on
        assert f"kill -CONT {writer.pid}" in raised.value.hint
        assert MachineStore(path).all() == [RECORD]


def test_ctrl_z_takes_effect_only_after_the_transaction(path: Path) -> None:
    MachineStore(path).add(RECORD)
    with writing(path, "going on") as writer:
        assert writer.stdin is not None
        os.kill(writer.pid, signal.SIGTSTP)
        writer.stdin.close()
        _, status = os.waitpid(writer.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        MachineStore(path).remove("vm-1")


def test_a_database_that_is_replaced_while_it_is_kept_open_is_noticed(path: Path, tmp_path: Path) -> None:
    other = MachineStore(tmp_path / "other" / "pyro.db")
    (tmp_path / "other").mkdir()
    other.add(replace(RECORD, id="vm-2"))
    store = MachineStore(path)
    store.add(RECORD)
    with store.kept_open():
        assert store.all() == [RECORD]
        for file in path.parent.glob("pyro.db*"):
            file.unlink()
        (tmp_path / "other" / "pyro.db").rename(path)
        assert [record.id for record in store.all()] == ["vm-2"]
        store.add(replace(RECORD, id="vm-3"))
    assert {record.id for record in MachineStore(path).all()} == {"vm-2", "vm-3"}


FULL = """
import os, subprocess, sys
from dataclasses import replace
from pathlib import Path
from pyro_mcp.errors import NoSpace
from pyro_mcp.machines.phases import Phase
from pyro_mcp.machines.machine_store import MachineRecord as Record, MachineStore as Store
folder, option = Path(sys.argv[1]), sys.argv[2]
subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
store = Store(folder / "pyro.db")
for number in range(200):
    store.add(Record(f"vm-{number}", "debian:12", "1", 1, 1024, True, Phase.CREATED, 1000.0, 2000.0))

def fill():
    try:
        number = len(os.listdir(folder))
        with open(folder / "filler", "ab", buffering=0) as file:
            while option.startswith("size"):
                file.write(bytes(4096))
        while True:
            open(folder / f"{number}", "x").close()
            number += 1
    except OSError as error:
        assert error.errno == 28, error

fill()
assert len(Store(folder / "pyro.db").all()) == 200
store.release_reserve()
fill()
"""
READ = """
assert len(Store(folder / "pyro.db").all()) == 200
try:
    Store(folder / "pyro.db").remove("vm-0")
except NoSpace as error:
    print("full:", error)
assert len(Store(folder / "pyro.db").all()) == 200
"""


WRITE_MEANWHILE = """
with store.kept_open():
    assert len(store.all()) == 200
    for name in os.listdir(folder):
        if name == "filler" or name.isdecimal():
            (folder / name).unlink()
    code = (
        "import sys; from pathlib import Path; from pyro_mcp.machines.machine_store import MachineStore\\n"
        "for number in range(150): MachineStore(Path(sys.argv[1])).remove(f'vm-{number}')"
    )
    subprocess.run([sys.executable, "-c", code, folder / "pyro.db"], check=True)
    assert len(store.all()) == 50
    store.remove("vm-150")
    assert len(store.all()) == 49
"""


def on_a_full_disk(program: str, folder: Path, option: str) -> str:
    """Run a program that uses a database on a small disk, mounted with `option`, that is full; return its output."""
    argv: list[str | Path] = ["unshare", "--mount", "--propagation=private", sys.executable, "-c", FULL + program]
    done = subprocess.run([*argv, folder, option], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
@pytest.mark.parametrize("option", ["size=16M", "nr_inodes=600"])
def test_a_database_on_a_disk_that_is_full_to_the_last_byte_or_inode_is_still_read(tmp_path: Path, option: str) -> None:
    assert on_a_full_disk(READ, tmp_path, option)[:27] == "full: the disk that holds /"


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small disk: run the tests as root")
@pytest.mark.parametrize("option", ["size=16M", "nr_inodes=600"])
def test_what_others_write_once_a_full_disk_has_space_again_is_read(tmp_path: Path, option: str) -> None:
    on_a_full_disk(WRITE_MEANWHILE, tmp_path, option)
