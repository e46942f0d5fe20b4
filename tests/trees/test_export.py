"""Copies to the host: whole or not at all, and nothing of a guest can lead out of them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings

from pyro_mcp.errors import Conflict, GuestFailed, InvalidRequest, NotFound, ProtocolViolation
from pyro_mcp.guest_protocol.frames import encode, encode_fields
from pyro_mcp.guest_protocol.tree_stream import Tag, Type
from pyro_mcp.results import Export
from pyro_mcp.trees.guest_tree import GuestTree
from tests.trees.answers import Recorded, end, entry, sent
from tests.trees.conftest import MakeTree
from tests.trees.exporting import export
from tests.trees.host_tree import HostTree
from tests.trees.models import MODELS, Leaf, Model, harvest, plant


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where a copy may go: in a folder in which nothing else may be left."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "copy"


def skipped(done: Export) -> dict[str, str]:
    return {one["path"]: one["reason"] for one in done["skipped"]}


def stays(path: bytes, leaf: Leaf) -> bool:
    """Whether a copy of the whole tree keeps it: all but links that lead out."""
    return leaf.kind == "f" or not (leaf.data.startswith(b"/") or leaf.data.count(b"../") > path.count(b"/"))


@settings(max_examples=40)
@given(model=MODELS)
def test_a_copy_is_the_tree_but_for_links_that_lead_out(new_host: MakeTree, model: Model) -> None:
    host = new_host()
    plant(host.workspace, model)
    output = host.baseline / "copy"

    done = export(host.tree, "/workspace", output, overwrite=False)

    kept = {path: leaf for path, leaf in model.items() if stays(path, leaf)}
    assert harvest(output) == kept
    assert {os.fsencode(path).removeprefix(b"/workspace/") for path in skipped(done)} == model.keys() - kept.keys()
    assert done["bytes_written"] == sum(len(leaf.data) for leaf in kept.values() if leaf.kind == "f")


def test_one_file_is_copied_with_mode_and_time_but_without_set_id(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"d/f": Leaf("f", b"1")})
    (host.workspace / "d/f").chmod(0o6755)
    os.utime(host.workspace / "d/f", ns=(0, 1_234_567_890_123_456_789))

    done = export(host.tree, "d/f", output, overwrite=False)

    assert (done["artifact_type"], done["entry_count"], done["bytes_written"]) == ("file", 1, 1)
    found = output.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o755, 1_234_567_890_123_456_789)
    assert os.listdir(output.parent) == ["copy"]


def test_what_exists_is_replaced_only_when_asked(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"new")})
    output.write_text("mine")

    with pytest.raises(Conflict, match="exists already"):
        export(host.tree, "f", output, overwrite=False)
    assert output.read_text() == "mine" and host.tool.calls == []
    export(host.tree, "f", output, overwrite=True)

    assert output.read_text() == "new" and os.listdir(output.parent) == ["copy"]


def test_a_folder_is_never_replaced_by_a_file(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"new")})
    output.mkdir()
    (output / "mine").write_text("mine")
    with pytest.raises(Conflict, match="not of the same kind"):
        export(host.tree, "f", output, overwrite=True)
    assert (output / "mine").read_text() == "mine" and os.listdir(output.parent) == ["copy"]


def test_the_folder_one_works_in_is_never_replaced(
    host: HostTree, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(host.workspace, {b"d/f": Leaf("f", b"new")})
    (output / "deep").mkdir(parents=True)
    monkeypatch.chdir(output / "deep")
    with pytest.raises(Conflict, match="working folder"):
        export(host.tree, "d", output, overwrite=True)
    assert (output / "deep").is_dir()


def test_a_link_at_the_output_is_replaced_and_not_followed(host: HostTree, output: Path, tmp_path: Path) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"new")})
    (tmp_path / "precious").write_text("precious")
    output.symlink_to(tmp_path / "precious")

    with pytest.raises(Conflict):
        export(host.tree, "f", output, overwrite=False)
    export(host.tree, "f", output, overwrite=True)

    assert not output.is_symlink() and (tmp_path / "precious").read_text() == "precious"


def test_an_output_without_a_folder_is_refused(host: HostTree, output: Path) -> None:
    with pytest.raises(NotFound, match="no folder"):
        export(host.tree, ".", output / "deep" / "copy", overwrite=False)


def test_a_missing_path_leaves_nothing(host: HostTree, output: Path) -> None:
    with pytest.raises(NotFound, match="/workspace/missing"):
        export(host.tree, "missing", output, overwrite=False)

    assert os.listdir(output.parent) == []


@pytest.mark.parametrize("target", [
    b"/etc/passwd", b"..", b"../..", b"../outside", b"d/../..", b"./../x", b"d/../../../x", b"back/../../..", b"//x",
])  # fmt: skip
def test_a_link_that_leads_out_is_left_out(host: HostTree, output: Path, target: bytes) -> None:
    plant(host.workspace, {b"d/f": Leaf("f", b""), b"d/in": Leaf("l", b"../d/f"), b"bad": Leaf("l", target)})

    done = export(host.tree, ".", output, overwrite=False)

    assert list(skipped(done)) == ["/workspace/bad"]
    assert not os.path.lexists(output / "bad") and os.readlink(output / "d/in") == "../d/f"


def test_a_link_that_goes_up_from_wherever_another_leads_is_left_out(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"s/t/top": Leaf("l", b"../.."), b"evil": Leaf("l", b"s/t/top/../outside")})

    done = export(host.tree, ".", output, overwrite=False)

    assert list(skipped(done)) == ["/workspace/evil"] and os.path.islink(output / "s/t/top")


def test_a_pipe_is_left_out_and_told(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"")})
    os.mkfifo(host.workspace / "p")

    assert skipped(export(host.tree, ".", output, overwrite=False)) == {"/workspace/p": "it is a pipe"}
    with pytest.raises(InvalidRequest, match="is a pipe"):
        export(host.tree, "p", output.parent / "other", overwrite=False)


def test_folders_nested_as_deep_as_can_be_are_copied_and_leave_nothing(host: HostTree, output: Path) -> None:
    place = os.open(host.workspace, os.O_RDONLY)
    for _ in range(900):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)

    assert export(host.tree, ".", output, overwrite=False)["entry_count"] == 901
    export(host.tree, ".", output, overwrite=True)

    assert os.listdir(output.parent) == ["copy"]


@pytest.mark.parametrize(
    "frames",
    [
        [entry(b"d", "d"), entry(b"d/../../evil", "f"), sent(b"x"), end(2)],
        [entry(b"d", "d"), entry(b"/etc/evil", "f"), sent(b"x"), end(2)],
        [entry(b"d", "d"), entry(b"other", "f"), sent(b"x"), end(2)],
        [entry(b"d", "d"), entry(b"d/x/y", "f"), sent(b"x"), end(2)],
        [entry(b"d", "d"), entry(b"d/l", "l", target=b"/etc"), entry(b"d/l/evil", "f"), sent(b"x"), end(3)],
        [entry(b"d", "d"), entry(b"d/f", "f", size=1), sent(b"x"), entry(b"d/f", "f", size=1), sent(b"x"), end(3)],
        [entry(b"d", "d"), entry(b"d", "d"), end(2)],
        [entry(b"d/f", "f", size=1), sent(b"x"), end(1)],
        [entry(b"d", "d"), entry(b"d/f", "f", size=1), sent(b"xx"), end(2)],
        [entry(b"d", "d"), entry(b"d/f", "f", size=1 << 62), encode(Type.DATA, b"x")],
        [entry(b"d", "d"), entry(b"d/f", "f", size=1), end(2)],
        [entry(b"d", "d")],
        [end(0)],
        [],
        [entry(b"d", "d"), end(1), entry(b"d/x", "d")],
    ],
)
def test_a_hostile_answer_writes_nothing(output: Path, frames: list[bytes]) -> None:
    with pytest.raises(ProtocolViolation):
        export(GuestTree(Recorded(*frames)), "d", output, overwrite=False)

    assert os.listdir(output.parent) == []


def test_a_guest_that_dies_in_the_middle_leaves_nothing(output: Path) -> None:
    tool = Recorded(entry(b"d", "d"), entry(b"d/f", "f", size=9), encode(Type.DATA, b"x"), failure=GuestFailed("gone"))

    with pytest.raises(GuestFailed, match="gone"):
        export(GuestTree(tool), "d", output, overwrite=False)

    assert os.listdir(output.parent) == []


def test_a_huge_announced_size_takes_only_what_arrives(output: Path) -> None:
    shrunk = entry(b"f", "f", size=1 << 62)

    done = export(GuestTree(Recorded(shrunk, sent(b"x" * 10), end(1))), "f", output, overwrite=False)

    assert done["bytes_written"] == 10 == output.stat().st_size


def test_a_hole_of_a_terabyte_stays_one(host: HostTree, output: Path) -> None:
    with open(host.workspace / "sparse", "wb") as file:
        file.write(b"begin")
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"middle")

    done = export(host.tree, ".", output, overwrite=False)

    found = (output / "sparse").stat()
    assert (found.st_size, done["skipped"]) == (1 << 40, []) and found.st_blocks * 512 < 1 << 20
    with open(output / "sparse", "rb") as file:
        assert file.read(6) == b"begin\0" and file.seek(1 << 39) and file.read(7) == b"middle\0"


def test_what_goes_beyond_the_bytes_of_a_copy_is_left_out_and_named(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"a": Leaf("f", b"x" * 600), b"b": Leaf("f", b"x" * 600), b"c": Leaf("f", b"x" * 300)})

    done = export(host.tree, ".", output, overwrite=False, max_bytes=1000)

    assert sorted(harvest(output)) == [b"a", b"c"] and (done["bytes_written"], done["entry_count"]) == (900, 3)
    assert list(skipped(done)) == ["/workspace/b"] and "max_bytes" in skipped(done)["/workspace/b"]
    with pytest.raises(InvalidRequest, match="exceed 500 bytes"):
        export(host.tree, "a", output.parent / "other", overwrite=False, max_bytes=500)
    assert os.listdir(output.parent) == ["copy"]


def test_what_goes_beyond_the_number_of_entries_is_left_out_and_counted(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"%04d/f" % number: Leaf("f", b"") for number in range(1200)})

    done = export(host.tree, ".", output, overwrite=False, max_entries=101)

    assert len(harvest(output)) == 50 and done["entry_count"] == 101
    assert (done["skipped_count"], len(done["skipped"])) == (1150, 1000)


@pytest.mark.parametrize(("size", "hole"), [(10, 11), (1 << 62, (1 << 62) + 1)])
def test_a_hole_beyond_the_size_of_its_file_is_refused(output: Path, size: int, hole: int) -> None:
    frames = [entry(b"d", "d"), entry(b"d/f", "f", size=size), encode_fields(Type.HOLE, [(Tag.SIZE, hole)])]
    with pytest.raises(ProtocolViolation, match="more of a file than there is"):
        export(GuestTree(Recorded(*frames)), "d", output, overwrite=False)


def test_a_file_of_exabytes_is_left_out_however_little_it_holds(output: Path) -> None:
    size = 1 << 60
    hole = [encode_fields(Type.HOLE, [(Tag.SIZE, size)]), encode_fields(Type.FILE_END, [(Tag.SENT, size)])]
    tool = Recorded(entry(b"d", "d"), entry(b"d/f", "f", size=size), *hole, entry(b"d/g", "f"), sent(b""), end(3))

    done = export(GuestTree(tool), "d", output, overwrite=False)

    assert os.listdir(output) == ["g"] and list(skipped(done)) == ["/workspace/d/f"]


def test_folders_that_are_nested_too_deep_are_named_and_the_rest_is_copied(host: HostTree, output: Path) -> None:
    plant(host.workspace, {b"z/f": Leaf("f", b"1")})
    place = os.open(host.workspace, os.O_RDONLY)
    for _ in range(1003):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)

    done = export(host.tree, ".", output, overwrite=False)

    assert (output / "z/f").read_text() == "1" and done["entry_count"] == 1 + 1000 + 2
    assert skipped(done) == {"/workspace" + "/d" * 1000: "the content of this folder is nested too deep to be copied"}
