from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.environments.catalog import CATALOG
from pyro_mcp.environments.source import RootFilesystem
from pyro_mcp.errors import NoSpace, UnknownEnvironment
from pyro_mcp.host.progress import Progress
from tests.environments.fake_source import FakeSource

Extract = Callable[[Path], Path]
StartPuller = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal"
    path.touch()
    return path


@pytest.fixture
def faked(cache: Path, journal: Path) -> EnvironmentStore:
    return EnvironmentStore(cache, lambda name: FakeSource(name, journal))


def test_the_catalogue_is_listed_before_anything_is_installed(environments: EnvironmentStore) -> None:
    assert [entry["name"] for entry in environments.list()] == [
        "debian:12",
        "debian:12-agent",
        "debian:12-base",
        "debian:12-build",
    ]
    assert not any(entry["installed"] for entry in environments.list())


def test_an_environment_that_is_not_installed_can_be_inspected(environments: EnvironmentStore) -> None:
    details = environments.inspect("debian:12-build")
    assert "build-essential" in details["packages"]
    assert (details["installed"], details["path"], details["digest"]) == (False, None, None)
    assert environments.installed("debian:12-build") is None


@pytest.mark.parametrize("act", [EnvironmentStore.inspect, EnvironmentStore.installed, EnvironmentStore.pull])
def test_an_unknown_environment_is_refused_everywhere(
    environments: EnvironmentStore, act: Callable[[EnvironmentStore, str], object]
) -> None:
    with pytest.raises(UnknownEnvironment):
        act(environments, "debian:11")


def test_a_pulled_environment_is_a_read_only_image(faked: EnvironmentStore, extract: Extract) -> None:
    image = faked.pull("debian:12")
    assert image == faked.installed("debian:12")
    assert image.path.stat().st_mode & 0o777 == 0o444
    assert image.size_bytes == image.path.stat().st_size
    assert (extract(image.path) / "etc/data").read_bytes() == b"x" * 10
    details = faked.inspect("debian:12")
    assert (details["path"], details["digest"], details["environ"]) == (
        str(image.path), image.digest, {"NAME": "debian:12"},
    )  # fmt: skip


def test_the_same_tree_gives_the_same_image_wherever_it_was_made(tmp_path: Path, journal: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    digests = set()
    for folder in folders:
        image = EnvironmentStore(folder, lambda name: _DatedSource(name, journal)).pull("debian:12")
        digests.add(image.digest)
    assert len(digests) == 1


def test_pulling_again_does_nothing(faked: EnvironmentStore, journal: Path) -> None:
    assert faked.pull("debian:12") == faked.pull("debian:12")
    assert journal.read_text() == "debian:12\n"


def test_a_damaged_image_is_built_again(faked: EnvironmentStore, journal: Path) -> None:
    os.truncate(faked.pull("debian:12").path, 100)
    assert faked.installed("debian:12") is None
    assert faked.pull("debian:12") == faked.installed("debian:12")
    assert journal.read_text() == "debian:12\n" * 2


def test_a_touched_image_is_not_built_again(faked: EnvironmentStore, journal: Path) -> None:
    image = faked.pull("debian:12")
    os.utime(image.path, (1, 1))
    assert faked.pull("debian:12") == image
    assert journal.read_text() == "debian:12\n"


def test_a_changed_image_is_named_when_it_is_built_again(faked: EnvironmentStore) -> None:
    image = faked.pull("debian:12")
    os.truncate(image.path, 100)
    said: list[str] = []
    faked.pull("debian:12", lambda text, _: said.append(text))
    assert [line for line in said if str(image.path) in line and "was changed" in line]


def test_a_build_that_is_needed_is_found_by_its_digest_and_kept_by_a_prune(cache: Path, journal: Path) -> None:
    sources = {"debian:12": FakeSource("debian:12", journal, size=100_000)}
    faked = EnvironmentStore(cache, lambda name: sources.get(name) or FakeSource(name, journal))
    old = faked.pull("debian:12")
    sources["debian:12"] = FakeSource("debian:12", journal, size=200_000)
    sources["debian:12"].version = "2"
    new = faked.pull("debian:12")
    assert new.digest != old.digest
    assert faked.prune(needed=[old.digest])["removed"] == []
    assert faked.find_build("debian:12", old.digest) == old
    assert faked.prune()["removed"] == ["debian:12 1"]
    assert faked.find_build("debian:12", old.digest) is None


def test_two_pulls_at_once_do_the_work_once(cache: Path, journal: Path, start_puller: StartPuller) -> None:
    fifo = cache.parent / "fifo"
    os.mkfifo(fifo)
    # Whoever comes first builds, and goes on only when the other has said that it waits.
    pullers = [start_puller(cache, "debian:12", journal, fifo) for _ in range(2)]
    outputs = [puller.communicate(timeout=30)[0].splitlines() for puller in pullers]
    assert journal.read_text() == "debian:12\n"
    assert outputs[0][-1] == outputs[1][-1]
    assert outputs[0][-1].startswith("sha256:")


def test_a_pull_killed_while_it_builds_leaves_nothing_that_looks_complete(
    cache: Path, journal: Path, start_puller: StartPuller
) -> None:
    fifo = cache.parent / "fifo"
    os.mkfifo(fifo)
    puller = start_puller(cache, "debian:12", journal, fifo)
    assert puller.stdout is not None
    assert puller.stdout.readline() == "building\n"
    puller.kill()
    puller.wait(10)
    faked = EnvironmentStore(cache, lambda name: FakeSource(name, journal))
    assert faked.installed("debian:12") is None
    image = faked.pull("debian:12")
    assert {path.name for path in image.path.parent.parent.iterdir()} == {".lock", "1"}


def test_prune_removes_old_versions_and_foreign_images_and_says_so(cache: Path, journal: Path) -> None:
    sources: dict[str, FakeSource] = {}
    faked = EnvironmentStore(cache, lambda name: sources.setdefault(name, FakeSource(name, journal, size=100_000)))
    foreign = ["oci:localhost/kept:1", "oci:localhost/gone:1"]
    for name in ("debian:12", *foreign):
        faked.pull(name)
    sources["debian:12"].version = "2"
    current = faked.pull("debian:12")
    (current.path.parents[1] / ".scratch-1-dead").mkdir()
    report = faked.prune(keep=["oci:localhost/kept:1"])
    assert sorted(report["removed"]) == ["debian:12 1", "oci:localhost/gone:1 1"]
    assert report["skipped"] == []
    assert report["freed_bytes"] >= 200_000
    assert faked.installed("debian:12") == current
    assert [entry["name"] for entry in faked.list()] == [*CATALOG, "oci:localhost/kept:1"]
    assert {path.name for path in current.path.parents[1].iterdir()} == {".lock", "2"}


def test_prune_leaves_alone_what_is_being_made(cache: Path, journal: Path, start_puller: StartPuller) -> None:
    fifo = cache.parent / "fifo"
    os.mkfifo(fifo)
    puller = start_puller(cache, "debian:12", journal, fifo)
    assert puller.stdout is not None
    assert puller.stdout.readline() == "building\n"
    report = EnvironmentStore(cache).prune()
    fifo.write_bytes(b"go")
    assert puller.communicate(timeout=30)[0].splitlines()[-1].startswith("sha256:")
    assert len(report["skipped"]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("megabytes", [1, 3], ids=["the tree does not fit", "the image does not fit"])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(cache: Path, journal: Path, megabytes: int) -> None:
    with small_disk(cache, megabytes):
        faked = EnvironmentStore(cache, lambda name: FakeSource(name, journal, size=2 << 20))
        with pytest.raises(NoSpace):
            faked.pull("debian:12")
        assert faked.installed("debian:12") is None
        assert [path.name for path in next((cache / "environments").iterdir()).iterdir()] == [".lock"]


class _DatedSource(FakeSource):
    def build(self, work: Path, progress: Progress) -> RootFilesystem:
        root = super().build(work, progress)
        for path in (root.path / "etc/data", root.path / "etc", root.path):
            os.utime(path, (1_000_000, 1_000_000))
        return root


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
