"""Custom environments: what a guest sends becomes an image, whatever it sends."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pyro_mcp.environments import CustomDetails, EnvironmentStore, LayerEntry, LayerWriter, StreamedSource
from pyro_mcp.environments import layer as layers
from pyro_mcp.errors import Conflict, EnvironmentFailed, InvalidRequest, NotFound, ProtocolViolation, UnknownEnvironment

Extract = Callable[[Path], Path]
System = Sequence[tuple[LayerEntry, bytes]]
_MOMENT = 1_600_000_000_123_456_789
_CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def folder(path: bytes, mode: int = 0o755) -> tuple[LayerEntry, bytes]:
    return LayerEntry(path, "d", mode, 0, _MOMENT), b""


def file(path: bytes, content: bytes = b"", mode: int = 0o644, **more: object) -> tuple[LayerEntry, bytes]:
    return LayerEntry(path, "f", mode, len(content), _MOMENT, **more), content  # type: ignore[arg-type]


SMALL: System = [folder(b""), folder(b"etc"), file(b"etc/name", b"small\n")]


def source(name: str, system: System = SMALL) -> StreamedSource:
    def stream(layer: LayerWriter) -> None:
        for entry, content in system:
            layer.begin(entry)
            if entry.kind == "f":
                layer.data(content)
                layer.end(entry.size)

    return StreamedSource(name, CustomDetails("saved", "a test", {"HOME": "/root"}, {"parent": "debian:12"}), stream)


def test_owners_modes_times_links_and_capabilities_survive(environments: EnvironmentStore, tmp_path: Path) -> None:
    system = [
        folder(b""),
        folder(b"bin"),
        file(b"bin/su", b"#!", 0o4755, uid=12, gid=34),
        file(b"bin/ping", b"ping", 0o755, capability=_CAPABILITY),
        file(b"bin/one", b"twice", links=2, inode=7),
        file(b"bin/two", b"twice", links=2, inode=7),
        (LayerEntry(b"bin/sh", "l", 0o777, 4, _MOMENT, target=b"dash"), b""),
        (LayerEntry(b"bin/pipe", "p", 0o600, 0, _MOMENT), b""),
        file(b"bin/\xff" + b"n" * 200, b"any bytes"),
    ]
    image = environments.add(source("mine", system))

    where = tmp_path / "mounted"
    where.mkdir()
    subprocess.run(["mount", "-o", "loop,ro", image.path, where], check=True, timeout=60)
    try:
        bin_ = where / "bin"
        found = (bin_ / "su").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o4755, 12, 34)
        assert found.st_mtime_ns == _MOMENT
        assert os.getxattr(bin_ / "ping", "security.capability") == _CAPABILITY
        assert (bin_ / "one").stat().st_ino == (bin_ / "two").stat().st_ino
        assert (bin_ / "two").read_bytes() == b"twice"
        assert os.readlink(bin_ / "sh") == "dash"
        assert (bin_ / "pipe").is_fifo()
        assert (Path(os.fsdecode(os.fsencode(bin_) + b"/\xff" + b"n" * 200))).read_bytes() == b"any bytes"
    finally:
        subprocess.run(["umount", where], check=True, timeout=60)


def test_devices_sockets_and_the_names_of_whiteouts_are_left_out_and_named(
    environments: EnvironmentStore, extract: Extract
) -> None:
    system = [
        *SMALL,
        (LayerEntry(b"etc/disk", "b", 0o666, 0, _MOMENT), b""),
        (LayerEntry(b"etc/socket", "s", 0o666, 0, _MOMENT), b""),
        file(b"etc/.wh.name", b"x"),
    ]
    image = environments.add(source("mine", system))
    assert [path.name for path in (extract(image.path) / "etc").iterdir()] == ["name"]
    assert environments.inspect("mine")["origin"]["left_out"] == ["etc/disk", "etc/socket", "etc/.wh.name"]


@pytest.mark.parametrize(
    "hostile",
    [
        [file(b"../../outside", b"x")],
        [(LayerEntry(b"etc/up", "l", 0o777, 1, _MOMENT, target=b"/outside"), b""), file(b"etc/up/x", b"x")],
        [(LayerEntry(b"up", "l", 0o777, 1, _MOMENT, target=b"../../../../../.."), b""), file(b"up/outside", b"x")],
    ],
)
def test_nothing_that_a_guest_sends_lands_outside_of_the_image(
    environments: EnvironmentStore, cache: Path, hostile: System
) -> None:
    before = set(cache.parent.iterdir())
    try:
        environments.add(source("mine", [*SMALL, *hostile]))
    except EnvironmentFailed:
        assert environments.list()[-1]["name"] == "debian:12-build"
    assert set(cache.parent.iterdir()) == before
    assert not list(Path("/").glob("outside*"))


def test_a_system_that_is_too_large_is_refused_and_leaves_nothing(
    environments: EnvironmentStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MAX_BYTES", 1000)
    with pytest.raises(EnvironmentFailed, match="larger"):
        environments.add(source("mine", [*SMALL, file(b"sparse", b"x" * 1001)]))
    assert not [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_content_that_is_not_of_the_announced_size_is_refused(environments: EnvironmentStore) -> None:
    longer, shorter = (file(b"etc/x", b"12345")[0], b"123456"), (file(b"etc/x", b"12345")[0], b"1234")
    with pytest.raises(ProtocolViolation):
        environments.add(source("mine", [*SMALL, longer]))
    with pytest.raises(EnvironmentFailed, match="shorter"):
        environments.add(source("mine", [*SMALL, shorter]))


def test_an_environment_of_ones_own_is_listed_used_and_stays_until_it_is_deleted(
    environments: EnvironmentStore,
) -> None:
    made = environments.add(source("mine:1"))
    listed = environments.list()[-1]
    assert (listed["name"], listed["source"], listed["installed"]) == ("mine:1", "saved", True)
    assert environments.pull("mine:1") == made == environments.installed("mine:1")
    assert environments.inspect("mine:1")["origin"]["parent"] == "debian:12"
    assert environments.prune()["removed"] == []
    assert environments.installed("mine:1") == made
    assert environments.delete("mine:1") > 0
    with pytest.raises(UnknownEnvironment):
        environments.installed("mine:1")
    with pytest.raises(NotFound):
        environments.delete("mine:1")


def test_a_name_is_taken_until_it_is_given_anew_with_replace(environments: EnvironmentStore) -> None:
    first = environments.add(source("mine"))
    with pytest.raises(Conflict):
        environments.add(source("mine"))
    second = environments.add(source("mine", [*SMALL, file(b"etc/more")]), replace=True)
    assert second.digest != first.digest
    assert environments.installed("mine") == second
    assert first.path.exists()
    assert environments.prune()["removed"] == [f"mine {first.version}"]
    assert environments.installed("mine") == second


@pytest.mark.parametrize("name", ["debian:12", "oci:docker.io/a:1", "Mine", "../mine"])
def test_names_that_mean_something_else_cannot_be_given_or_deleted(environments: EnvironmentStore, name: str) -> None:
    with pytest.raises(InvalidRequest):
        environments.add(source(name))
    with pytest.raises(InvalidRequest):
        environments.delete(name)


def test_an_unknown_name_brings_ones_own_too(environments: EnvironmentStore) -> None:
    environments.add(source("my-project"))
    with pytest.raises(UnknownEnvironment) as caught:
        environments.pull("my-projekt")
    assert "did you mean my-project?" in caught.value.hint
