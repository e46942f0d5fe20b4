"""Sealed folders are compared by content."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_mcp.host import seals
from pyro_mcp.host.seals import SEAL, damaged, intact, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sealed folder: a plain file, one below, one with a large hole."""
    (tmp_path / "below").mkdir()
    (tmp_path / "plain").write_bytes(b"content")
    (tmp_path / "below/file").write_bytes(bytes(range(256)) * 10_000)
    with open(tmp_path / "sparse", "wb") as file:
        file.seek(3 * 1024**3 + 5)
        file.write(b"end")
    seal(tmp_path)
    return tmp_path


def flip(path: Path) -> None:
    """Change one byte, and keep size and date."""
    before = path.stat()
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_that_was_only_touched_or_copied_is_not_damaged(folder: Path) -> None:
    for name in ("plain", "sparse", "below/file"):
        os.utime(folder / name, (1, 1))
    copy = folder / "copy"
    copy.write_bytes((folder / "plain").read_bytes())
    copy.replace(folder / "plain")
    assert damaged(folder) == []


def test_a_file_is_read_only_once_after_it_was_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(folder / "plain", (1, 1))
    assert damaged(folder) == []
    monkeypatch.delattr(seals, "_digest")
    assert damaged(folder) == []


@pytest.mark.parametrize("name", ["plain", "sparse", "below/file"])
@pytest.mark.parametrize(
    "damage", [flip, os.unlink, lambda path: os.truncate(path, 3), lambda path: os.truncate(path, 2**33)]
)
def test_another_content_is_named_whatever_the_dates_say(
    folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(folder / name)
    assert damaged(folder) == [name]
    assert damaged(folder) == [name]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff"])
def test_a_broken_seal_is_named(folder: Path, content: bytes) -> None:
    (folder / SEAL).write_bytes(content)
    assert damaged(folder) == [SEAL]


def test_a_broken_note_of_what_is_trusted_costs_one_reading(folder: Path) -> None:
    (folder / "trusted.json").write_bytes(b"[")
    assert damaged(folder) == []


def test_a_folder_from_before_there_were_seals_is_sealed_if_it_was_whole(folder: Path) -> None:
    (folder / SEAL).unlink()
    assert not intact(folder, lambda: False)
    assert intact(folder, lambda: True)
    flip(folder / "plain")
    assert not intact(folder, lambda: True)
