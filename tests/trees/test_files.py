"""Single files: listed, read, written, and what of that is refused."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import InvalidRequest, NotFound
from pyro_mcp.guest_protocol.tree_stream import is_path
from pyro_mcp.redaction import Mask
from pyro_mcp.trees.files import list_files, read_file, write_file
from pyro_mcp.trees.guest_tree import GuestTree, inner_path
from tests.trees.host_tree import HostTree
from tests.trees.models import Leaf, harvest, plant


def test_a_folder_is_listed_with_types_sizes_and_targets(host: HostTree) -> None:
    plant(host.workspace, {b"d/f": Leaf("f", b"123"), b"d/sub/g": Leaf("f", b""), b"d/l": Leaf("l", b"f")})

    found = list_files(host.tree, "/workspace/d", recursive=False)

    assert (found["path"], found["artifact_type"], found["count"]) == ("/workspace/d", "directory", 3)
    assert [(entry["path"], entry["artifact_type"], entry["link_target"]) for entry in found["entries"]] == [
        ("/workspace/d/f", "file", None), ("/workspace/d/l", "symlink", "f"), ("/workspace/d/sub", "directory", None)
    ]  # fmt: skip
    assert found["entries"][0]["size_bytes"] == 3 and found["entries"][0]["mode"] == "0644"


def test_a_recursive_list_has_everything_and_odd_names_survive(host: HostTree) -> None:
    names = [b"new\nline", b"\xff\xfe", "✓".encode(), b"\x01"]
    plant(host.workspace, {b"d/" + name: Leaf("f", b"") for name in names})

    found = list_files(host.tree, ".", recursive=True)

    assert {os.fsencode(entry["path"]) for entry in found["entries"]} == {
        b"/workspace/d", *(b"/workspace/d/" + name for name in names)
    }  # fmt: skip


def test_a_file_is_listed_as_itself(host: HostTree) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"1")})

    found = list_files(host.tree, "f", recursive=True)

    assert found["artifact_type"] == "file" and [entry["path"] for entry in found["entries"]] == ["/workspace/f"]


@pytest.mark.parametrize("path", ["/etc/passwd", "..", "a/../../b", "/workspacefoo", "/", "a\0b"])
def test_a_path_outside_is_refused_before_the_guest_is_asked(host: HostTree, path: str) -> None:
    for act in (lambda: list_files(host.tree, path, recursive=False), lambda: write_file(host.tree, path, b"")):
        with pytest.raises(InvalidRequest):
            act()

    assert host.tool.calls == []


@given(st.one_of(st.text(), st.binary()))
def test_a_path_that_is_accepted_stays_in_the_tree(path: str | bytes) -> None:
    try:
        inner = inner_path(path)
    except InvalidRequest:
        return
    assert b".." not in inner.split(b"/") and not inner.startswith(b"/") and b"\0" not in inner
    assert is_path(inner) or max(map(len, inner.split(b"/"))) > 255


def test_text_is_read_up_to_the_limit_and_the_true_size_told(host: HostTree) -> None:
    plant(host.workspace, {b"f": Leaf("f", "✓✓✓".encode())})

    whole, part = (read_file(host.tree, "f", max_bytes=most) for most in (9, 7))

    assert (whole["content"], whole["truncated"], whole["size_bytes"]) == ("✓✓✓", False, 9)
    assert (part["content"], part["truncated"], part["size_bytes"]) == ("✓✓", True, 9)


@pytest.mark.parametrize("data", [b"nul\0", b"caf\xe9", b"\xe2\x9c"])
def test_a_binary_file_is_refused_as_text_and_given_as_base64(host: HostTree, data: bytes) -> None:
    plant(host.workspace, {b"f": Leaf("f", data)})

    with pytest.raises(InvalidRequest) as caught:
        read_file(host.tree, "f", max_bytes=100)
    found = read_file(host.tree, "f", max_bytes=100, binary=True)

    assert "binary=True" in caught.value.hint
    assert found["encoding"] == "base64" and base64.b64decode(found["content"]) == data


def test_a_large_file_is_read_only_as_far_as_asked(host: HostTree) -> None:
    with open(host.workspace / "huge", "wb") as file:
        file.write(b"start")
        file.truncate(1024**4)

    found = read_file(host.tree, "huge", max_bytes=5)

    assert (found["content"], found["truncated"], found["size_bytes"]) == ("start", True, 1024**4)


def test_a_read_follows_links_but_never_out(host: HostTree, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    plant(host.workspace, {b"d/f": Leaf("f", b"1"), b"l": Leaf("l", b"d/f"), b"out": Leaf("l", b"../../secret")})
    plant(host.workspace, {b"abs": Leaf("l", os.fsencode(tmp_path / "secret")), b"loop": Leaf("l", b"loop")})

    assert read_file(host.tree, "l", max_bytes=10)["content"] == "1"
    for name in ("out", "abs", "loop"):
        with pytest.raises((InvalidRequest, NotFound)):
            read_file(host.tree, name, max_bytes=10)


def test_reading_what_is_no_file_says_what_it_is(host: HostTree) -> None:
    (host.workspace / "d").mkdir()
    os.mkfifo(host.workspace / "p")

    with pytest.raises(InvalidRequest, match="/workspace/d is a folder"):
        read_file(host.tree, "d", max_bytes=10)
    with pytest.raises(InvalidRequest, match="is a pipe"):
        read_file(host.tree, "p", max_bytes=10)
    with pytest.raises(NotFound, match="there is no /workspace/missing/f"):
        read_file(host.tree, "missing/f", max_bytes=10)
    with pytest.raises(InvalidRequest, match="max_bytes"):
        read_file(host.tree, "d", max_bytes=0)


def test_a_file_is_written_with_its_folders_and_keeps_its_mode(host: HostTree) -> None:
    plant(host.workspace, {b"run": Leaf("f", b"old", 0o750)})

    made, replaced = write_file(host.tree, "new/deep/f", b"1"), write_file(host.tree, "/workspace/run", b"\0new")

    assert (made["replaced"], made["path"]) == (False, "/workspace/new/deep/f")
    assert (replaced["replaced"], replaced["bytes_written"]) == (True, 4)
    assert harvest(host.workspace) == {b"new/deep/f": Leaf("f", b"1"), b"run": Leaf("f", b"\0new", 0o750)}


def test_a_large_file_is_written_whole(host: HostTree) -> None:
    data = os.urandom(5_000_000)

    write_file(host.tree, "f", data)

    assert (host.workspace / "f").read_bytes() == data


@pytest.mark.parametrize(("path", "why"), [
    (".", "is a folder"), ("d", "a folder is at"), ("f/x", "not a folder"), ("out/x", "leads out of /workspace"),
    ("out", "leads out of /workspace"), ("n" * 256, "255 bytes"),
])  # fmt: skip
def test_what_cannot_be_written_is_refused_with_its_reason(host: HostTree, tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "outside").mkdir()
    plant(host.workspace, {b"d/x": Leaf("f", b""), b"f": Leaf("f", b"1"), b"out": Leaf("l", b"../../outside")})
    before = harvest(host.workspace)

    with pytest.raises(InvalidRequest, match=why):
        write_file(host.tree, path, b"2")

    assert harvest(host.workspace) == before and list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("step", [4, 7, 100])
def test_reading_on_gives_each_character_once(host: HostTree, step: int) -> None:
    text = "aé✓😀\n" * 20
    plant(host.workspace, {b"f": Leaf("f", text.encode())})
    pieces, offset = [], 0

    while True:
        found = read_file(host.tree, "f", max_bytes=step, offset=offset)
        pieces.append(found["content"])
        assert found["offset"] == offset and found["truncated"] == (found["next_offset"] is not None)
        if found["next_offset"] is None:
            break
        offset = found["next_offset"]

    assert "".join(pieces) == text


def test_a_read_that_begins_within_a_character_begins_after_it(host: HostTree) -> None:
    plant(host.workspace, {b"f": Leaf("f", "✓b".encode())})
    found = read_file(host.tree, "f", max_bytes=9, offset=1)
    assert (found["content"], found["offset"], found["truncated"]) == ("b", 3, False)
    beyond = read_file(host.tree, "f", max_bytes=9, offset=99)
    assert (beyond["content"], beyond["truncated"]) == ("", False)
    with pytest.raises(InvalidRequest, match="is too small for the character"):
        read_file(host.tree, "f", max_bytes=2)


@given(begin=st.integers(0, 60), size=st.integers(1, 60))
def test_no_part_of_a_file_tells_a_part_of_a_secret(begin: int, size: int) -> None:
    data = b"a first line\nTOKEN=s3cr3t-value and s3cr3t-value\nlast"
    mask = Mask({"TOKEN": "s3cr3t-value"})

    shown, first, after = mask.between(data, min(begin, len(data)), min(begin + size, len(data)))

    for length in range(4, 12):
        assert b"s3cr3t-value"[:length] not in shown and b"s3cr3t-value"[-length:] not in shown
    assert shown.replace(b"[secret TOKEN]", b"s3cr3t-value") == data[first:after]
    assert first <= begin and after >= min(begin + size, len(data))


def test_a_secret_is_masked_wherever_a_read_begins(host: HostTree) -> None:
    plant(host.workspace, {b"f": Leaf("f", b"x" * 1000 + b"s3cr3t-value" + b"y" * 1000)})
    mask = Mask({"TOKEN": "s3cr3t-value"})
    for offset in range(990, 1015):
        found = read_file(host.tree, "f", max_bytes=5, offset=offset, mask=mask)
        assert not any(part in found["content"] for part in ("s3c", "cr3", "t-v", "alue")), found


def test_relative_paths_are_from_the_workspace_in_every_tree(host: HostTree) -> None:
    (host.workspace / "workspace").mkdir()
    (host.workspace / "workspace/f").write_text("1")
    system = GuestTree(host.tool, merged=str(host.workspace), top="/")

    assert read_file(system, "f", max_bytes=9)["path"] == "/workspace/f"
    assert read_file(system, "/workspace/f", max_bytes=9)["content"] == "1"
    with pytest.raises(NotFound, match="there is no /workspace/missing") as caught:
        read_file(system, "missing", max_bytes=9)
    assert "list_workspace_disk" in caught.value.hint
