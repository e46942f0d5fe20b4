"""A watch on a folder returns for its events, for those of other descriptors, and at its time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pyro_mcp.host import folder_watch
from pyro_mcp.host.folder_watch import watch_folder

LONG = 30.0


def test_a_file_that_is_moved_there_ends_the_wait(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    started = time.monotonic()
    with watch_folder(tmp_path / "folder") as watch:
        (tmp_path / "file").rename(tmp_path / "folder" / "file")
        watch.wait(LONG)
    assert time.monotonic() - started < LONG


@pytest.mark.parametrize("flags", [folder_watch.INOTIFY_FLAGS, -1])
def test_another_descriptor_ends_the_wait_and_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int
) -> None:
    monkeypatch.setattr(folder_watch, "INOTIFY_FLAGS", flags)  # -1: EINVAL, as without inotify
    reader, writer = os.pipe()
    started = time.monotonic()
    with watch_folder(tmp_path) as watch, open(reader, "rb"), open(writer, "wb", buffering=0) as file:
        file.write(b"x")
        watch.wait(LONG, also=[reader])
        assert os.read(reader, 10) == b"x"
    assert time.monotonic() - started < LONG
