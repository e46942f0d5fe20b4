"""What guest/TREE.md promises of `walk`, checked against the compiled tool on folders of this host."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.guest.tool import FILE, Tool, edit


def test_a_walk_lists_a_folder_before_its_content_and_names_by_their_bytes(tool: Tool, root: Path) -> None:
    for name in (b"b", b"a", b"a/z", b"a/\xff", b"a/B", b"a.c"):
        os.mkdir(os.path.join(os.fsencode(root), name))
    assert list(tool.entries(root, b"")) == [b"", b"a", b"a/B", b"a/z", b"a/\xff", b"a.c", b"b"]


def test_an_entry_tells_what_lstat_tells(tool: Tool, root: Path) -> None:
    file = root / "file"
    file.write_bytes(b"12345")
    file.chmod(0o4751)
    os.utime(file, ns=(0, -1_500_000_000))
    os.link(file, root / "other")
    (entry,) = tool("walk", root, "file").of("ENTRY")
    expected = {"KIND": ord("f"), "MODE": 0o4751, "SIZE": 5, "LINKS": 2, "INODE": file.stat().st_ino}
    assert entry.fields == {"PATH": b"file", "MTIME_NS": 2**64 - 1_500_000_000, **expected}


def test_every_kind_of_entry_has_its_letter(tool: Tool, root: Path) -> None:
    (root / "d").mkdir()
    (root / "f").touch()
    (root / "l").symlink_to("nowhere")
    os.mkfifo(root / "p")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(root / "s"))
    os.mknod(root / "c", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(root / "b", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    assert {path: kind for path, (kind, _, _) in tool.entries(root, b"").items() if path} == {
        letter.encode(): letter for letter in "bcdflps"
    }


@pytest.mark.parametrize(("depth", "count"), [(0, 1), (1, 2), (2, 3), (99, 4)])
def test_depth_limits_how_far_a_walk_goes(tool: Tool, root: Path, depth: int, count: int) -> None:
    (root / "a/b/c").mkdir(parents=True)
    assert len(tool("walk", "--depth", str(depth), root, "").of("ENTRY")) == count


def test_content_comes_after_its_file_up_to_the_limit_while_size_stays_true(tool: Tool, root: Path) -> None:
    (root / "a").write_bytes(b"0123456789")
    (root / "b").touch()
    (root / "c").mkdir()
    answer = tool("walk", "--content", "4", root, "").of("ENTRY")
    assert [message.name for message in answer] == ["ENTRY", "ENTRY", "DATA", "FILE_END", "ENTRY", "FILE_END", "ENTRY"]
    assert (answer[1].number("SIZE"), answer[2].data, answer[3].number("SENT")) == (10, b"0123", 4)


def test_large_content_arrives_whole(tool: Tool, root: Path) -> None:
    data = os.urandom(3_000_000)
    (root / "large").write_bytes(data)
    (root / "small").write_bytes(b"small")
    assert tool.entries(root, b"large", b"small") == {b"large": ("f", FILE, data), b"small": ("f", FILE, b"small")}


def test_links_on_the_way_are_followed_and_the_last_one_only_when_asked(tool: Tool, root: Path) -> None:
    (root / "real").mkdir()
    (root / "real" / "file").write_bytes(b"data")
    (root / "real" / "up").symlink_to("../real/file")
    (root / "way").symlink_to("real")
    (way,) = tool("walk", root, "way/up").of("ENTRY")
    assert (way.letter(), way.fields["TARGET"]) == ("l", b"../real/file")
    followed = tool("walk", "--follow", "--content", "9", root, "way/up", "real").of("ENTRY")
    assert [(each.path, each.letter()) for each in followed if each.name == "ENTRY"] == [
        (b"way/up", "f"), (b"real", "d"), (b"real/file", "f"), (b"real/up", "l"),
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["../outside", "/", "inner/../../outside", "/proc/self/cwd"])
def test_a_link_that_leads_out_is_not_followed(tool: Tool, root: Path, target: str) -> None:
    (root / "inner").mkdir()
    (root / "link").symlink_to(target)
    for words in (("--follow", root, "link"), (root, "link/secret")):
        assert tool("walk", *words).refusal().endswith(": Invalid cross-device link")
    assert [kind for kind, _, _ in tool.entries(root, b"link").values()] == ["l"]


@pytest.mark.parametrize("path", ["..", "../outside", "/etc", "a//b", "a/", "./a", "a/../a"])
def test_a_path_with_anything_but_names_is_refused(tool: Tool, root: Path, path: str) -> None:
    (root / "a").mkdir()
    assert tool("walk", root, path).refusal() == f"{path}: Invalid argument"


def test_a_path_that_is_not_there_is_an_error_unless_it_may_be_missing(tool: Tool, root: Path) -> None:
    (root / "file").touch()
    assert tool("walk", root, "none").refusal() == "none: No such file or directory"
    assert tool("walk", root, "none/none").refusal() == "none/none: No such file or directory"
    assert tool("walk", root, "file/none").refusal() == "file/none: Not a directory"
    missing = ["none", "none/none", "file/none"]
    assert [each.path for each in tool("walk", "--skip-missing", root, *missing, "file").of("ENTRY")] == [b"file"]


def test_a_root_that_is_a_link_is_refused(tool: Tool, root: Path) -> None:
    (root / "link").symlink_to(".")
    assert tool("walk", root / "link", "").refusal().endswith(": Not a directory")


def test_paths_longer_than_the_kernel_takes_are_walked_and_put(tool: Tool, root: Path) -> None:
    deep = b"/".join([b"%03d" % level + b"n" * 252 for level in range(50)])
    assert tool.apply(root, edit(deep + b"/file", "f", b"deep")).code == 0
    assert tool.entries(root, deep + b"/file") == {deep + b"/file": ("f", FILE, b"deep")}
    assert len(tool.entries(root, b"")) == 52
    assert tool.apply(root, edit(deep[:255], "x")).code == 0
    assert list(root.iterdir()) == []


def test_a_folder_whose_content_lies_too_deep_is_named_and_can_be_deleted(tool: Tool, root: Path) -> None:
    where = os.open(root, os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=where)
        below = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = below
    os.close(where)
    (root / "e").mkdir()
    answer = tool("walk", root, "").of("ENTRY")
    assert [message.path for message in answer if message.name == "UNLISTED"] == [b"/".join([b"d"] * 1000)]
    assert len(answer) == 1 + 1000 + 1 + 1 and answer[-1].path == b"e"
    (root / "e").rmdir()
    assert tool.apply(root, edit(b"d", "x")).code == 0
    assert list(root.iterdir()) == []


# usage


@pytest.mark.parametrize("words", [[], ["none"], ["walk"], ["walk", "--depth", "x", ".", ""], ["walk", "--depth", "1"],
                                   ["apply", ".", "."], ["apply", "--follow", "."], ["changes", "."]])  # fmt: skip
def test_wrong_usage_is_told_and_exits_with_2(tool: Tool, words: list[str]) -> None:
    ran = tool(*words)
    assert ran.code == 2 and ran.complaint.startswith("usage: tool walk")


def test_a_missing_root_is_named(tool: Tool, root: Path) -> None:
    for words in (("walk", "/no/such", ""), ("apply", "/no/such"), ("copy", "/no/such", root), ("freeze", "/no/such")):
        assert tool(*words).refusal() == f"/no/such: {os.strerror(errno.ENOENT)}"


def test_a_walk_with_owners_tells_who_owns_each_entry_and_which_capabilities_a_file_has(tool: Tool, root: Path) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    (root / "ping").write_bytes(b"#!")
    os.chown(root / "ping", 12, 34)
    os.setxattr(root / "ping", "security.capability", capability)
    (root / "link").symlink_to("ping")
    os.chown(root / "link", 56, 78, follow_symlinks=False)
    entries = tool("walk", "--owners", "--content", "9", root, "link", "ping").of("ENTRY")
    assert [(one.fields["UID"], one.fields["GID"]) for one in entries if one.name == "ENTRY"] == [(56, 78), (12, 34)]
    assert entries[1].fields["CAPABILITY"] == capability and "CAPABILITY" not in entries[0].fields


def test_a_walk_with_owners_does_not_enter_another_file_system(tool: Tool, root: Path) -> None:
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / "file").touch()
    subprocess.run(["mount", "-t", "tmpfs", "other", root / "a"], check=True, timeout=20)
    try:
        (root / "a/elsewhere").touch()
        entries = tool("walk", "--owners", root, "").of("ENTRY")
    finally:
        subprocess.run(["umount", root / "a"], check=True, timeout=20)
    assert [one.path for one in entries] == [b"", b"a", b"b", b"b/file"]


def test_holes_are_told_when_asked_for_and_read_as_zeros_otherwise(tool: Tool, root: Path) -> None:
    with open(root / "sparse", "wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(1 << 40)
    answer = tool("walk", "--content", str(1 << 62), "--holes", root, "sparse").of("ENTRY")
    assert [message.name for message in answer] == ["ENTRY", "HOLE", "DATA", "HOLE", "FILE_END"]
    assert [answer[1].number("SIZE"), answer[3].number("SIZE")] == [1 << 20, (1 << 40) - (1 << 20) - 4096]
    assert (answer[2].data, answer[4].number("SENT")) == (b"x" * 4096, 1 << 40)
    answer = tool("walk", "--content", "10", root, "sparse").of("ENTRY")
    assert [message.name for message in answer] == ["ENTRY", "DATA", "FILE_END"] and answer[1].data == bytes(10)


@pytest.mark.parametrize(
    ("start", "most", "data"), [(0, 4, b"0123"), (6, 2, b"67"), (8, 9, b"89"), (10, 1, b""), (99, 1, b"")]
)
def test_content_may_begin_anywhere(tool: Tool, root: Path, start: int, most: int, data: bytes) -> None:
    (root / "a").write_bytes(b"0123456789")
    answer = tool("walk", "--from", str(start), "--content", str(most), root, "a").of("ENTRY")
    assert b"".join(message.data for message in answer) == data
    assert (answer[0].number("SIZE"), answer[-1].number("SENT")) == (10, len(data))


def test_the_command_line_may_come_as_input(tool: Tool, root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    words = [b"tool", b"walk", b"--depth", b"0", os.fsencode(root), b"caf\xe9"]
    (entry,) = tool("-", stdin=b"".join(word + b"\0" for word in words)).of("ENTRY")
    assert (entry.path, entry.number("SIZE")) == (b"caf\xe9", 1)


@pytest.mark.parametrize(
    "given", [b"", b"tool\0", b"tool\0-\0", b"tool\0walk", b"\0" * 2000, b"tool\0" + b"x" * (1 << 20)]
)
def test_a_command_line_that_is_none_is_refused(tool: Tool, given: bytes) -> None:
    refused = tool("-", stdin=given)
    assert refused.code in (1, 2) and refused.complaint != ""
