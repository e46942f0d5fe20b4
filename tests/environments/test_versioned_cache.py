from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyro_mcp.environments.versioned_cache import CachedVersion, VersionedCache
from pyro_mcp.errors import Busy


def publish(shelf: VersionedCache, version: str, content: bytes = b"content") -> CachedVersion:
    with shelf.exclusive("a thing") as work:
        (work / "thing").mkdir()
        (work / "thing/file").write_bytes(content)
        return shelf.publish(version, work / "thing", {"version": version})


@pytest.fixture
def shelf(cache: Path) -> VersionedCache:
    return VersionedCache(cache / "things")


def test_what_was_published_is_found_with_its_facts(shelf: VersionedCache) -> None:
    made = publish(shelf, "sha256:12/../x")
    assert shelf.version("sha256:12/../x") == made
    assert made.facts == {"version": "sha256:12/../x"}
    assert made.place.parent == shelf.folder
    assert (made.place / "file").read_bytes() == b"content"


def test_nothing_else_is_left_in_the_folder(shelf: VersionedCache) -> None:
    publish(shelf, "1")
    assert {path.name for path in shelf.folder.iterdir()} == {".lock", "1"}


def test_the_newest_version_comes_first(shelf: VersionedCache) -> None:
    for version in ("2", "9", "1"):
        publish(shelf, version)
    assert [made.facts["version"] for made in shelf.versions()] == ["1", "9", "2"]


@pytest.mark.parametrize("damage", ["cut", "flip", "unlink", "no record", "half a record", "a strange record"])
def test_a_damaged_version_is_as_if_it_were_not_there_and_can_be_made_again(shelf: VersionedCache, damage: str) -> None:
    place = publish(shelf, "1").place
    file, record = place / "file", place / "record.json"
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
    assert shelf.version("1") is None
    assert shelf.versions() == []
    assert publish(shelf, "1", b"again") == shelf.version("1")


def test_a_version_that_was_only_touched_stays_what_it_is(shelf: VersionedCache) -> None:
    made = publish(shelf, "1")
    os.utime(made.place / "file", (1, 1))
    assert shelf.version("1") == made
    assert shelf.damage("1") == []


def test_a_damaged_file_is_named(shelf: VersionedCache) -> None:
    place = publish(shelf, "1").place
    (place / "file").write_bytes(b"cOntent")
    assert shelf.damage("1") == [str(place / "file")]
    assert shelf.damage("2") == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_version_from_before_there_were_seals_is_known_by_its_dates(shelf: VersionedCache, whole: bool) -> None:
    made = publish(shelf, "1")
    found = (made.place / "file").stat()
    old = {"facts": made.facts, "built_at": 1.0, "files": {"file": [found.st_size, found.st_mtime_ns]}}
    (made.place / "record.json").write_text(json.dumps(old))
    (made.place / "seal.json").unlink()
    if not whole:
        os.utime(made.place / "file", (1, 1))
    assert (shelf.version("1") is not None) == whole


def test_a_block_that_fails_leaves_nothing(shelf: VersionedCache) -> None:
    def fail() -> None:
        with shelf.exclusive("a thing") as work:
            (work / "half").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {path.name for path in shelf.folder.iterdir()} == {".lock"}


def test_two_cannot_hold_a_shelf_at_once(shelf: VersionedCache) -> None:
    said: list[str] = []
    with shelf.exclusive("a thing"):
        with pytest.raises(Busy), shelf.exclusive("a thing", patience_seconds=0):
            pass
        with (
            pytest.raises(Busy),
            shelf.exclusive("a thing", lambda message, _: said.append(message), patience_seconds=0.01),
        ):
            pass
    assert said == ["waiting for another process that makes a thing"]


def test_cleaning_removes_what_is_not_complete_and_counts_it(shelf: VersionedCache) -> None:
    made = publish(shelf, "1")
    (shelf.folder / "half").mkdir()
    (shelf.folder / "half/file").write_bytes(b"x" * 10_000)
    with shelf.exclusive("a thing"):
        assert shelf.clean() >= 10_000
    assert [path.name for path in shelf.folder.iterdir() if not path.name.startswith(".")] == [made.place.name]


def test_scratch_of_the_dead_is_swept_by_the_next_holder(shelf: VersionedCache) -> None:
    shelf.folder.mkdir()
    for name in (".work", ".scratch-1-abcd"):
        (shelf.folder / name / "deep").mkdir(parents=True)
    publish(shelf, "1")
    assert {path.name for path in shelf.folder.iterdir()} == {".lock", "1"}
