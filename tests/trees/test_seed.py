"""Host content on its way in: folders as they lie there, archives as if their makers were hostile."""

from __future__ import annotations

import gzip
import io
import os
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.engine.disks import make_baseline
from pyro_mcp.errors import InvalidRequest, NotFound, PyroError
from pyro_mcp.trees import archive as archive_module
from pyro_mcp.trees.seed import prepare_seed, push
from tests.trees.host_tree import DEADLINE, HostTree
from tests.trees.models import Leaf, harvest, plant

Members = list[tuple[tarfile.TarInfo, bytes]]


def member(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> Members:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname, info.mode = len(data), kind, target, mode
    return [(info, data)]


def packed(path: Path, *members: Members) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for info, data in [pair for group in members for pair in group]:
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_a_folder_is_used_in_place_with_all_that_is_in_it(source: Path, work: Path) -> None:
    plant(source, {b".git/HEAD": Leaf("f", b"ref"), b"ignored": Leaf("f", b"1"), b"loop": Leaf("l", b"loop")})
    plant(source, {b"out": Leaf("l", b"/etc"), b"new\nline": Leaf("f", b"22")})

    seed = prepare_seed(source, work)

    assert (seed.tree, seed.mode, seed.entry_count, seed.size_bytes) == (source, "directory", 6, 6)
    assert list(work.iterdir()) == [] and seed.skipped == []


def test_pipes_and_sockets_stay_out_of_the_baseline(source: Path, work: Path, tmp_path: Path) -> None:
    plant(source, {b"d/keep": Leaf("f", b"1"), b"d/p[x]2": Leaf("f", b"2")})
    image = tmp_path / "image"
    names = [b"d/p[x]*", b"new\nline", b"\xff\xfe", b"-p"]
    for name in names:
        os.mkfifo(os.path.join(os.fsencode(source), name))
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(source / "socket"))

        seed = prepare_seed(source, work)
        make_baseline(seed.tree, image, seed.left_out)

    assert sorted(map(os.fsencode, seed.skipped)) == sorted([*names, b"socket"]) == sorted(seed.left_out)
    assert seed.entry_count == 3
    assert b"keep" in listed(image, "/d") and b"p[x]2" in listed(image, "/d") and b"p[x]*" not in listed(image, "/d")
    assert not any(name in listed(image, "/") for name in (b"new\nline", b"\xff\xfe", b"-p", b"socket"))


def listed(image: Path, folder: str) -> bytes:
    """The names in a folder of an EROFS image, and what else its tool prints."""
    argv: list[str | Path] = ["dump.erofs", "--ls", f"--path={folder}", image]
    return subprocess.run(argv, check=True, capture_output=True, timeout=DEADLINE).stdout


@contextmanager
def not_as_root() -> Iterator[None]:
    """Be nobody for the length of the block, where we are root."""
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(own)


def test_what_cannot_be_read_is_named(work: Path) -> None:
    with TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to others
        source = Path(name)
        source.chmod(0o755)
        plant(source, {b"open": Leaf("f", b"1"), b"locked": Leaf("f", b"1", 0o000), b"d/f": Leaf("f", b"1")})
        (source / "d").chmod(0o000)

        with not_as_root(), pytest.raises(InvalidRequest) as caught:
            prepare_seed(source, work)
        (source / "d").chmod(0o755)

    assert sorted(caught.value.message.rpartition(": ")[2].split(", ")) == ["d", "locked"]


@pytest.mark.parametrize(("name", "error", "what"), [
    ("missing", NotFound, "there is no"), ("source/file.txt", InvalidRequest, "neither a folder nor an archive"),
    ("source/file.txt/x", NotFound, "there is no"), ("source/pipe.tar", InvalidRequest, "neither"),
    ("n" * 300, InvalidRequest, "cannot read"), ("source/a\0b", InvalidRequest, "cannot read"),
])  # fmt: skip
def test_a_source_that_is_none_is_refused(
    source: Path, work: Path, name: str, error: type[PyroError], what: str
) -> None:
    (source / "file.txt").write_text("x")
    os.mkfifo(source / "pipe.tar")

    with pytest.raises(error, match=what):
        prepare_seed(source.parent / name, work)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "A.TGZ"])
def test_an_archive_is_unpacked(tmp_path: Path, work: Path, name: str) -> None:
    long = "d/" * 20 + "n" * 200
    source = packed(
        tmp_path / name.lower(),
        member("./"),
        member("./d/", kind=tarfile.DIRTYPE, mode=0o500),
        member("./d/f", b"1", mode=0o4755),
        member("l", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("hard", kind=tarfile.LNKTYPE, target="./d/f"),
        member(long, b"22"),
        member("pipe", kind=tarfile.FIFOTYPE),
        member("null", kind=tarfile.CHRTYPE),
    ).rename(tmp_path / name)

    seed = prepare_seed(source, work)

    assert (seed.tree, seed.mode, seed.skipped, seed.size_bytes) == (work, "archive", ["pipe", "null"], 3)
    assert harvest(work) == {
        b"d/f": Leaf("f", b"1", 0o755), b"l": Leaf("l", b"/etc/passwd"), b"hard": Leaf("f", b"1", 0o755),
        long.encode(): Leaf("f", b"22"),
    }  # fmt: skip
    assert (work / "hard").stat().st_ino == (work / "d/f").stat().st_ino


def test_of_a_name_that_comes_twice_the_last_one_stays(tmp_path: Path, work: Path) -> None:
    source = packed(
        tmp_path / "a.tar",
        member("f", b"first"),
        member("f", b"last", mode=0o755),
        member("l", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("l", b"file"),
        member("d", kind=tarfile.DIRTYPE),
        member("d", b"file"),
    )

    seed = prepare_seed(source, work)

    assert harvest(work) == {b"f": Leaf("f", b"last", 0o755), b"l": Leaf("f", b"file"), b"d": Leaf("f", b"file")}
    assert (seed.entry_count, seed.size_bytes) == (3, 12)


HOSTILE: list[list[Members]] = [
    [member("/etc/evil", b"x")],
    [member("../evil", b"x")],
    [member("d/../../evil", b"x")],
    [member("l", kind=tarfile.SYMTYPE, target=".."), member("l/evil", b"x")],
    [member("l", kind=tarfile.SYMTYPE, target="/tmp"), member("l", kind=tarfile.DIRTYPE), member("l/../evil", b"")],
    [member("h", kind=tarfile.LNKTYPE, target="../outside")],
    [member("h", kind=tarfile.LNKTYPE, target="/etc/passwd")],
    [member("h", kind=tarfile.LNKTYPE, target="missing")],
    [member("f", b"x"), member("f/below", b"x")],
    [member("d/f", b"x"), member("d", b"x")],
    [member("n" * 300, b"x")],
    [member("d/" * 300 + "f", b"x")],
]


@pytest.mark.parametrize("members", HOSTILE)
def test_an_archive_that_would_reach_out_is_refused(tmp_path: Path, work: Path, members: list[Members]) -> None:
    (tmp_path / "outside").write_text("precious")
    source = packed(tmp_path / "a.tgz", *members)
    before = set(tmp_path.iterdir())

    with pytest.raises(InvalidRequest):
        prepare_seed(source, work)

    assert set(tmp_path.iterdir()) == before and (tmp_path / "outside").read_text() == "precious"


CUTS: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-1],
    lambda data: data[: len(data) // 2],
    lambda data: data[:5],
    lambda _: b"",
    lambda _: b"hello, this is no archive",
    lambda data: data[:-8] + bytes(4) + data[-4:],
    gzip.decompress,
]


@pytest.mark.parametrize("cut", CUTS)
def test_a_damaged_archive_is_called_so(tmp_path: Path, work: Path, cut: Callable[[bytes], bytes]) -> None:
    source = packed(tmp_path / "a.tar.gz", member("f", os.urandom(100_000)))
    source.write_bytes(cut(source.read_bytes()))

    with pytest.raises(InvalidRequest, match="is damaged, truncated"):
        prepare_seed(source, work)


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "MAX_BYTES", 10_000_000)
    bomb = packed(tmp_path / "a.tgz", member("f", bytes(20_000_000)))

    with pytest.raises(InvalidRequest, match="holds more than"):
        prepare_seed(bomb, work)

    assert sum(path.stat().st_size for path in work.iterdir()) <= 10_000_000


def test_headers_of_many_megabytes_are_refused_before_they_fill_the_memory(tmp_path: Path, work: Path) -> None:
    source = packed(tmp_path / "a.tgz", member("x", bytes(50_000_000), kind=tarfile.GNUTYPE_LONGNAME))

    with pytest.raises(InvalidRequest, match="headers of more than"):
        prepare_seed(source, work)


@settings(max_examples=150)
@given(at=st.integers(0, 6000), with_=st.binary(min_size=1, max_size=12))
def test_no_damage_to_an_archive_does_more_than_refuse_it(tmp_path: Path, at: int, with_: bytes) -> None:
    source = packed(
        tmp_path / "a.tar",
        member("n" * 150, b"x" * 600),
        member("l", kind=tarfile.SYMTYPE, target="t" * 150),
        member("✓", b"x"),
        member("h", kind=tarfile.LNKTYPE, target="✓"),
    )
    data = source.read_bytes()
    source.write_bytes(data[:at] + with_ + data[at + len(with_) :])
    work = tmp_path / os.urandom(8).hex()
    work.mkdir()

    with suppress(InvalidRequest):
        prepare_seed(source, work)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"a.tar"}


def test_a_push_adds_and_replaces_and_tells_what_was_there(host: HostTree, source: Path) -> None:
    plant(source, {b"d/f": Leaf("f", b"new", 0o755), b"d/l": Leaf("l", b"f"), b"x": Leaf("f", b"x")})
    os.mkfifo(source / "pipe")
    plant(host.workspace, {b"to/d/f": Leaf("f", b"old"), b"to/d/other": Leaf("f", b"other")})

    done = push(host.tree, source, "to")

    assert harvest(host.workspace) == {
        b"to/d/f": Leaf("f", b"new", 0o755), b"to/d/l": Leaf("l", b"f"), b"to/x": Leaf("f", b"x"),
        b"to/d/other": Leaf("f", b"other"),
    }  # fmt: skip
    assert done["overwritten"] == ["/workspace/to/d/f"] and done["skipped"] == ["pipe"]
    assert (done["mode"], done["destination"], done["entry_count"]) == ("directory", "/workspace/to", 4)


def test_an_archive_is_pushed_into_the_workspace_itself(host: HostTree, tmp_path: Path) -> None:
    done = push(host.tree, packed(tmp_path / "a.tgz", member("d/f", b"1")), "/workspace")

    assert harvest(host.workspace) == {b"d/f": Leaf("f", b"1")} and done["mode"] == "archive"


def test_a_push_that_cannot_be_whole_changes_nothing(host: HostTree, source: Path) -> None:
    plant(source, {b"a": Leaf("f", b"1"), b"z": Leaf("f", b"2")})
    (host.workspace / "z").mkdir()

    with pytest.raises(InvalidRequest, match="a folder is at this path"):
        push(host.tree, source, ".")

    assert harvest(host.workspace) == {}


@pytest.mark.parametrize("dest", ["..", "/etc", "../x"])
def test_a_push_to_elsewhere_is_refused(host: HostTree, source: Path, dest: str) -> None:
    with pytest.raises(InvalidRequest, match="outside /workspace"):
        push(host.tree, source, dest)


def test_an_archive_with_a_path_that_no_disk_takes_is_refused_by_name(tmp_path: Path) -> None:
    deep = tmp_path / "deep.tar"
    with tarfile.open(deep, "w") as archive:
        archive.addfile(tarfile.TarInfo("/".join(["y" * 200] * 30)))
    (tmp_path / "work").mkdir()
    with pytest.raises(InvalidRequest, match=r"deep\.tar holds an invalid path"):
        prepare_seed(deep, tmp_path / "work")
