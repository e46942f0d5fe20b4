"""The file in a machine's folder that has the machine's rows."""

from __future__ import annotations

import os
import resource
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_mcp.machines.record_files import MachineRows, RecordFiles


def rows(revision: int = 1) -> MachineRows:
    machine = {"id": "vm-1", "revision": revision}
    return MachineRows(1, {"machines": [machine], "workspaces": [], "snapshots": [], "services": []})


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    """Let this process open no further file; calls that need no descriptor still work."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_file_that_could_not_be_opened_once_is_read_the_next_time(tmp_path: Path) -> None:
    RecordFiles(tmp_path).write("vm-1", rows(7))
    files = RecordFiles(tmp_path)
    with no_file_can_be_opened():
        assert files.read("vm-1") is None
    assert files.read("vm-1") == rows(7)


def test_a_file_that_is_no_record_is_read_again_once_it_is_replaced(tmp_path: Path) -> None:
    RecordFiles(tmp_path).write("vm-1", rows())
    (tmp_path / "vm-1" / "record.json").write_text("{")
    files = RecordFiles(tmp_path)
    assert files.read("vm-1") is None
    RecordFiles(tmp_path).write("vm-1", rows(2))
    assert files.read("vm-1") == rows(2)


def test_the_rows_of_a_deleted_machine_are_not_kept_in_memory(tmp_path: Path) -> None:
    files, written = RecordFiles(tmp_path), rows()
    files.write("vm-1", written)
    kept = weakref.ref(written)
    del written
    assert kept() is not None
    files.mark_deleting("vm-1")
    assert kept() is None
