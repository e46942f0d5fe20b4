from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyro_mcp.environments.versioned_cache import CachedVersion, VersionedCache
from pyro_mcp.errors import Busy


def publish(versioned: VersionedCache, version: str, content: bytes = b"content") -> CachedVersion:
    with versioned.exclusive("a thing") as work:
        (work / "thing").mkdir()
        (work / "thing/file").write_bytes(content)
        return versioned.publish(version, work / "thing", {"version": version})


@pytest.fixture
def versioned(cache: Path) -> VersionedCache:
    return VersionedCache(cache / "things")


def test_what_was_published_is_found_with_its_metadata(versioned: VersionedCache) -> None:
    made = publish(versioned, "sha256:12/../x")
    assert versioned.find("sha256:12/../x") == made
    assert made.metadata == {"version": "sha256:12/../x"}
    assert made.folder.parent == versioned.folder
    assert (made.folder / "file").read_bytes() == b"content"


def test_nothing_else_is_left_in_the_folder(versioned: VersionedCache) -> None:
    publish(versioned, "1")
    assert {path.name for path in versioned.folder.iterdir()} == {".lock", "1"}


def test_the_newest_version_comes_first(versioned: VersionedCache) -> None:
    for version in ("2", "9", "1"):
        publish(versioned, version)
    assert [made.metadata["version"] for made in versioned.versions()] == ["1", "9", "2"]


@pytest.mark.parametrize("damage", ["cut", "flip", "unlink", "no record", "half a record", "a strange record"])
def test_a_damaged_version_is_as_if_it_were_not_there_and_can_be_made_again(
    versioned: VersionedCache, damage: str
) -> None:
    folder = publish(versioned, "1").folder
    file, record = folder / "file", folder / "record.json"
    match damage:
        case "cut":
            os.truncate(file, 3)
        case "flip":
            before = file.stat()
            file.write_bytes(b"cOntent")
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        case "unlink":
            file.unlink()
        case "no record":
            record.unlink()
        case "half a record":
            os.truncate(record, 20)
        case _:
            record.write_text('{"files": [], "facts": 3}')
    assert versioned.find("1") is None
    assert versioned.versions() == []
    assert publish(versioned, "1", b"again") == versioned.find("1")


def test_a_version_that_was_only_touched_stays_what_it_is(versioned: VersionedCache) -> None:
    made = publish(versioned, "1")
    os.utime(made.folder / "file", (1, 1))
    assert versioned.find("1") == made
    assert versioned.damaged_files("1") == []


def test_a_damaged_file_is_named(versioned: VersionedCache) -> None:
    folder = publish(versioned, "1").folder
    (folder / "file").write_bytes(b"cOntent")
    assert versioned.damaged_files("1") == [str(folder / "file")]
    assert versioned.damaged_files("2") == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_version_from_before_there_were_seals_is_known_by_its_dates(versioned: VersionedCache, whole: bool) -> None:
    made = publish(versioned, "1")
    found = (made.folder / "file").stat()
    old = {"facts": made.metadata, "built_at": 1.0, "files": {"file": [found.st_size, found.st_mtime_ns]}}
    (made.folder / "record.json").write_text(json.dumps(old))
    (made.folder / "seal.json").unlink()
    if not whole:
        os.utime(made.folder / "file", (1, 1))
    assert (versioned.find("1") is not None) == whole


def test_a_block_that_fails_leaves_nothing(versioned: VersionedCache) -> None:
    def fail() -> None:
        with versioned.exclusive("a thing") as work:
            (work / "half").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name for path in versioned.folder.iterdir()} == {".lock"}


def test_only_one_process_holds_the_lock(versioned: VersionedCache) -> None:
    said: list[str] = []
    with versioned.exclusive("a thing"):
        with pytest.raises(Busy), versioned.exclusive("a thing", patience_seconds=0):
            pass
        with (
            pytest.raises(Busy),
            versioned.exclusive("a thing", lambda message, _: said.append(message), patience_seconds=0.01),
        ):
            pass
    assert said == ["waiting for another process that makes a thing"]


def test_cleaning_removes_what_is_not_complete_and_counts_it(versioned: VersionedCache) -> None:
    made = publish(versioned, "1")
    (versioned.folder / "half").mkdir()
    (versioned.folder / "half/file").write_bytes(b"x" * 10_000)
    with versioned.exclusive("a thing"):
        assert versioned.remove_incomplete() >= 10_000
    assert [path.name for path in versioned.folder.iterdir() if not path.name.startswith(".")] == [made.folder.name]


def test_scratch_of_the_dead_is_swept_by_the_next_holder(versioned: VersionedCache) -> None:
    versioned.folder.mkdir()
    for name in (".work", ".scratch-1-abcd"):
        (versioned.folder / name / "deep").mkdir(parents=True)
    publish(versioned, "1")
    assert {path.name for path in versioned.folder.iterdir()} == {".lock", "1"}
