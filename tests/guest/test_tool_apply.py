"""What guest/TREE.md promises of `apply`, checked against the compiled tool on folders of this host."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.guest_protocol.frames import MAX_PAYLOAD, encode, encode_fields
from tests.guest.conftest import BUILD
from tests.guest.tool import DEADLINE, FILE, FOLDER, TAG_NUMBERS, TYPE_NUMBERS, Tool, edit, pieces
from tests.waiting import until

DATA = TYPE_NUMBERS["DATA"]


def test_edits_are_made_in_their_order_and_each_is_answered(tool: Tool, root: Path) -> None:
    (root / "old").write_bytes(b"old")
    edits = [
        edit(b"new/sub/file", "f", b"data", MODE=0o4750, MTIME_NS=2**64 - 1_500_000_000),
        edit(b"old", "x"),
        edit(b"old", "d", MODE=0o1777),
        edit(b"old/link", "l", TARGET=b"../new\n\xff"),
        edit(b"new", "m", MODE=0o700),
        edit(b"new", "d"),
    ]
    answer = tool.apply(root, *edits).of("CHANGED")
    assert [(each.path, each.number("REPLACED")) for each in answer] == [
        (b"new/sub/file", 0), (b"old", 1), (b"old", 0), (b"old/link", 0), (b"new", 1), (b"new", 1),
    ]  # fmt: skip
    assert tool.entries(root, b"") == {
        b"": ("d", FOLDER, b""),
        b"new": ("d", 0o700, b""),
        b"new/sub": ("d", FOLDER, b""),
        b"new/sub/file": ("f", 0o4750, b"data"),
        b"old": ("d", 0o1777, b""),
        b"old/link": ("l", 0o777, b"../new\n\xff"),
    }
    assert (root / "new/sub/file").stat().st_mtime_ns == -1_500_000_000


def test_a_file_keeps_its_mode_unless_another_is_given(tool: Tool, root: Path) -> None:
    (root / "script").write_text("old")
    (root / "script").chmod(0o750)
    assert tool.apply(root, edit(b"script", "f", b"new")).code == 0
    assert tool.entries(root, b"script") == {b"script": ("f", 0o750, b"new")}
    assert tool.apply(root, edit(b"script", "f", b"", MODE=0o600)).code == 0
    assert tool.entries(root, b"script") == {b"script": ("f", 0o600, b"")}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others")
def test_what_is_made_belongs_to_the_owner_of_its_folder(tool: Tool, root: Path) -> None:
    os.chown(root, 1000, 1001)
    (root / "other").mkdir()
    (root / "replaced").write_text("old")
    os.chown(root / "replaced", 5, 5)
    edits = [
        edit(b"new/sub/file", "f", b"", MODE=0o6755),
        edit(b"link", "l", TARGET=b"/nowhere"),
        edit(b"folder", "d", MODE=0o1777),
        edit(b"replaced", "f", b"new"),
        edit(b"other/file", "f", b""),
    ]
    assert tool.apply(root, *edits).code == 0
    owners = {path: (path.lstat().st_uid, path.lstat().st_gid) for path in root.rglob("*")}
    assert [path for path, owner in owners.items() if owner != (1000, 1001)] == [root / "other", root / "other/file"]
    assert owners[root / "other/file"] == (0, 0)
    assert owners[root / "new/sub/file"] == (1000, 1001)
    assert (root / "new/sub/file").stat().st_mode & 0o7777 == 0o6755
    assert (root / "folder").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("gcc"), reason="only root may give files to others")
@pytest.mark.parametrize("call", ["fchownat", "mkdirat"])
def test_what_takes_the_place_of_a_made_folder_gets_neither_its_owner_nor_its_mode(
    root: Path, tmp_path: Path, call: str
) -> None:
    source, preloaded, binary = Path(__file__).parent / "swapping.c", tmp_path / "swapping.so", tmp_path / "tool"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", preloaded, source], check=True, timeout=60)
    environment = os.environ | {"CC": "gcc", "CFLAGS": "-g"}
    subprocess.run([BUILD, "tool", binary], env=environment, check=True, timeout=120)
    os.chown(root, 1000, 1000)
    secret = tmp_path / "outside/secret"
    secret.chmod(0o600)
    swap = {"MADE": str(root / "made"), "ASIDE": str(root / "aside"), "OTHER": str(secret), "SWAPPED_AFTER": call}

    given = edit(b"made", "d", MODE=0o1777) + encode(TYPE_NUMBERS["COMMIT"])
    environment = {"LD_PRELOAD": str(preloaded), **swap}
    subprocess.run([binary, "apply", root], input=given, env=environment, timeout=DEADLINE, check=True)

    assert (root / "made").samefile(secret)
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o7777) == (0, 0o600)


def test_a_replaced_file_is_another_file_so_that_readers_see_the_old_or_the_new(tool: Tool, root: Path) -> None:
    (root / "file").write_text("old")
    with (root / "file").open() as reader:
        assert tool.apply(root, edit(b"file", "f", b"new"), edit(b"other", "d")).code == 0
        assert reader.read() == "old"
    assert (root / "file").read_text() == "new"


def test_a_file_put_on_a_link_replaces_what_the_link_leads_to(tool: Tool, root: Path) -> None:
    (root / "sub").mkdir()
    (root / "sub/real").write_text("old")
    (root / "sub/hop").symlink_to("../sub/real")
    (root / "link").symlink_to("sub/hop")
    (root / "dangling").symlink_to("sub/later")
    assert tool.apply(root, edit(b"link", "f", b"new"), edit(b"dangling", "f", b"made")).code == 0
    assert (root / "link").is_symlink() and (root / "dangling").is_symlink()
    assert ((root / "sub/real").read_text(), (root / "sub/later").read_text()) == ("new", "made")


@pytest.mark.parametrize("target", ["/outside", "../outside/new", "sub/../../outside/secret"])
def test_a_file_put_on_a_link_that_leads_out_is_refused_or_replaces_the_link(
    tool: Tool, root: Path, target: str
) -> None:
    (root / "sub").mkdir()
    (root / "link").symlink_to(target)
    assert tool.apply(root, edit(b"link", "f", b"new")).refusal() == "link: Invalid cross-device link"
    assert tool.apply(root, edit(b"link", "f", b"new"), replace=True).code == 0
    assert (root / "link").read_text() == "new" and not (root / "link").is_symlink()
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret"]


def test_links_in_a_ring_end(tool: Tool, root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert tool.apply(root, edit(b"a", "f", b"")).refusal() == "a: Too many levels of symbolic links"
    assert tool.apply(root, edit(b"a/file", "f", b"")).refusal() == "a/file: Too many levels of symbolic links"


REFUSED = [
    (edit(b"folder", "f", b"new"), "folder: Is a directory"),
    (edit(b"folder", "l", TARGET=b"x"), "folder: Is a directory"),
    (edit(b"file", "d"), "file: File exists"),
    (edit(b"file/below", "f", b"new"), "file/below: Not a directory"),
    (edit(b"none", "x"), "none: No such file or directory"),
    (edit(b"none", "m", MODE=0o600), "none: No such file or directory"),
    (edit(b"none/none", "x"), "none/none: No such file or directory"),
    (edit(b"out", "m", MODE=0o600), "out: Too many levels of symbolic links"),
    (edit(b"out/new", "f", b"new"), "out/new: Invalid cross-device link"),
    (edit(b"out/new/new", "f", b"new"), "out/new/new: Invalid cross-device link"),
    (edit(b"out/secret", "x"), "out/secret: Invalid cross-device link"),
    (edit(b"n" * 256, "f", b"new"), "n" * 256 + ": File name too long"),
    (edit(b"/file", "x"), "/file: not a path within the tree"),
    (edit(b"folder/../file", "x"), "folder/../file: not a path within the tree"),
    (edit(b"folder//x", "d"), "folder//x: not a path within the tree"),
    (edit(b"", "x"), ".: not a path within the tree"),
    (edit(b".pyro-staging-0123456789abcdef/x", "d"), ".pyro-staging-0123456789abcdef/x: not a path within the tree"),
    (edit(b"file", "q"), "file: there is no such action"),
    (edit(b"file", "m"), "file: the mode is missing or over 07777"),
    (edit(b"file", "m", MODE=0o10000), "file: the mode is missing or over 07777"),
    (edit(b"new", "l"), "new: a link needs a target"),
    (edit(b"new", "l", TARGET=b"t" * 5000), "new: File name too long"),
    (edit(b"new", "d", SIZE=1), "new: only a file has a size"),
    (edit(b"new", "f", b"1234", SIZE=5), "new: its data is not of the size that was announced"),
    (edit(b"new", "f", b"1234", SIZE=3), "new: its data is not of the size that was announced"),
    (edit(b"new", "f", SIZE=2**63), "new: its data is not of the size that was announced"),
    (edit(b"new", "f", b"1234", SIZE=0), "input: a frame is neither an edit nor COMMIT"),
    (edit(b"new\0x", "d"), "input: a path holds a NUL byte"),
    (edit(b"new", "d", MODE=b"short"), "input: a number does not have 8 bytes"),
    (encode_fields(TYPE_NUMBERS["EDIT"], [(TAG_NUMBERS["ACTION"], ord("d"))]), "input: an edit has no path"),
    (encode(TYPE_NUMBERS["EDIT"], b"\1\xff\0\0"), "input: a field is broken"),
    (encode(TYPE_NUMBERS["EDIT"], b"\1\xff\0\0\0path"), "input: a field is broken"),
    (encode(77), "input: a frame is neither an edit nor COMMIT"),
    (struct.pack("<IB", MAX_PAYLOAD + 1, DATA), "input: a frame is over the limit of 1 MiB"),
    (encode(DATA, b"x")[:-1] + b"\0", "input: a frame has no end mark"),
]


@pytest.mark.parametrize(("refused", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_is_refused_changes_nothing_and_leaves_nothing(tool: Tool, root: Path, refused: bytes, why: str) -> None:
    (root / "folder/sub").mkdir(parents=True)
    (root / "folder/sub/file").write_text("content")
    (root / "file").write_text("content")
    (root / "script").write_text("content")
    (root / "out").symlink_to("../outside")
    before = tool.entries(root.parent, b"")
    others = [
        edit(b"a/b/c", "f", b"new"), edit(b"file2", "l", TARGET=b"file"), edit(b"script", "f", b"x", MODE=0o777),
        edit(b"folder/sub", "x"), edit(b"folder/sub/deeper", "d"), edit(b"folder", "m", MODE=0o711),
    ]  # fmt: skip
    for edits in ([refused], [*others, refused], [*others, refused, edit(b"later", "d")]):
        assert tool.apply(root, *edits).refusal() == why
        assert tool.entries(root.parent, b"") == before
        assert sorted(path.name for path in root.iterdir()) == ["file", "folder", "out", "script"]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
@pytest.mark.parametrize("place", ["last", "first"])
def test_with_replace_whatever_has_the_name_gives_way(tool: Tool, root: Path, kind: str, place: str) -> None:
    puts = {
        "file": (edit(b"name", "f", b"new"), {b"name": ("f", FILE, b"new")}),
        "folder": (edit(b"name", "d"), {b"name": ("d", FOLDER, b"")}),
        "link": (edit(b"name", "l", TARGET=b"to"), {b"name": ("l", 0o777, b"to")}),
    }
    put, expected = puts[kind]
    (root / "name/sub").mkdir(parents=True)
    if kind != "folder":
        assert tool.apply(root, put, *([edit(b"z", "d")] if place == "first" else []), replace=True).code == 0
        assert tool.entries(root, b"name") == expected
    assert tool.apply(root, edit(b"name", "x"), edit(b"name", "f", b"old")).code == 0
    assert tool.apply(root, put, *([edit(b"z", "d")] if place == "first" else []), replace=True).code == 0
    assert tool.entries(root, b"name") == expected


@pytest.mark.parametrize("cut", [0, 1, 6, 30, -1])
def test_input_that_ends_before_commit_changes_nothing(tool: Tool, root: Path, cut: int) -> None:
    stream = edit(b"dir/file", "f", b"x" * 100) + edit(b"other", "d") + encode(TYPE_NUMBERS["COMMIT"])
    ran = tool("apply", root, stdin=stream[:cut])
    assert ran.refusal() == "input: it ends before COMMIT, nothing has been changed"
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_edits_arrive_changes_nothing(tool: Tool, root: Path, number: int) -> None:
    argv: list[str | Path] = [tool.binary, "apply", root]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(edit(b"file", "f", b"x" * 500_000, SIZE=600_000))
        process.stdin.flush()
        process.send_signal(number)
        complaint = process.communicate(timeout=DEADLINE)[1]
    assert (process.returncode, complaint) == (1, b"input: ended by a signal, nothing has been changed\n")
    assert list(root.iterdir()) == []


def test_what_a_killed_apply_left_is_never_listed_and_the_next_one_removes_it(tool: Tool, root: Path) -> None:
    argv: list[str | Path] = [tool.binary, "apply", root]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(edit(b"file", "f", b"x" * 500_000, SIZE=600_000))
        process.stdin.flush()
        process.kill()
        process.wait(DEADLINE)
    (left,) = root.iterdir()
    assert left.name.startswith(".pyro-staging-")
    assert list(tool.entries(root, b"")) == [b""]
    assert tool.apply(root, edit(b"file", "f", b"data")).code == 0
    assert [path.name for path in root.iterdir()] == ["file"]


def test_an_apply_whose_whole_group_is_killed_after_commit_makes_all_its_edits(tool: Tool, root: Path) -> None:
    argv: list[str | Path] = [tool.binary, "apply", root]
    edits = b"".join(edit(b"%04d" % number, "f", b"x") for number in range(3000))
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdin
        process.stdin.write(edits)
        process.stdin.flush()
        found = until("the staging folder is there", lambda: list(root.iterdir()), deadline_seconds=DEADLINE)
        staging = os.open(found[0], os.O_RDONLY)
        process.stdin.write(encode(TYPE_NUMBERS["COMMIT"]))
        process.stdin.flush()
        until("the first edit is made", (root / "0000").exists, deadline_seconds=DEADLINE)
        os.killpg(process.pid, signal.SIGKILL)
    fcntl.flock(staging, fcntl.LOCK_EX)  # held until the edits are made
    os.close(staging)
    assert len(list(root.iterdir())) == 3000


def test_one_apply_leaves_the_staging_of_another_alone(tool: Tool, root: Path) -> None:
    argv: list[str | Path] = [tool.binary, "apply", root]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as slow:
        assert slow.stdin
        slow.stdin.write(edit(b"slow", "f", b"x" * 500_000, SIZE=500_001))
        slow.stdin.flush()
        assert tool.apply(root, edit(b"fast", "f", b"data")).code == 0
        slow.stdin.write(b"".join(pieces(b"y")) + encode(TYPE_NUMBERS["COMMIT"]))
        slow.communicate(timeout=DEADLINE)
        assert slow.returncode == 0
    assert {path.name: path.stat().st_size for path in root.iterdir()} == {"fast": 4, "slow": 500_001}


def test_an_apply_without_edits_changes_nothing(tool: Tool, root: Path) -> None:
    assert tool.apply(root).of("CHANGED") == []
    assert list(root.iterdir()) == []


def test_a_full_disk_is_an_error_that_changes_nothing(tool: Tool, root: Path) -> None:
    stream = root.parent / "stream"
    put = edit(b"kept", "f", b"new") + edit(b"large", "f", b"x" * 3_000_000) + encode(TYPE_NUMBERS["COMMIT"])
    stream.write_bytes(put)
    script = """
    mount -t tmpfs -o size=1m none "$1"; echo old >"$1/kept"
    "$0" apply "$1" <"$2"; echo $?; ls -A "$1"; cat "$1/kept"
    """
    argv: list[str | Path] = ["unshare", "--mount", "sh", "-c", script, tool.binary, root, stream]
    done = subprocess.run(argv, capture_output=True, timeout=DEADLINE, check=False)
    if b"unshare" in done.stderr:
        pytest.skip("mount namespaces need root")
    assert (done.stdout, done.stderr) == (b"1\nkept\nold\n", b"large: No space left on device\n")


# both


NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"-", b" ", b"\n", b"\xff\xfe", b"...", b"n" * 255, "é".encode()]),
    st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")),
)
LEAVES = st.one_of(
    st.tuples(st.just("f"), st.sampled_from([0o644, 0o755, 0o4711, 0]), st.binary(max_size=300)),
    st.tuples(st.just("l"), st.just(0o777), st.binary(min_size=1, max_size=60).filter(lambda target: 0 not in target)),
)
Node = tuple[str, int, bytes] | dict[bytes, "Node"]
TREES: st.SearchStrategy[dict[bytes, Node]] = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=12), max_size=5
)


def flat(tree: dict[bytes, Node], above: bytes = b"") -> Iterator[tuple[bytes, tuple[str, int, bytes]]]:
    for name, node in tree.items():
        path = above + b"/" + name if above else name
        if isinstance(node, dict):
            yield path, ("d", FOLDER, b"")
            yield from flat(node, path)
        else:
            yield path, node


def put(path: bytes, node: tuple[str, int, bytes]) -> bytes:
    kind, mode, content = node
    if kind == "l":
        return edit(path, "l", TARGET=content)
    return edit(path, kind, content if kind == "f" else None, MODE=mode)


@settings(max_examples=60)
@given(first=TREES, second=TREES)
def test_what_is_applied_is_what_is_walked(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, first: dict[bytes, Node], second: dict[bytes, Node]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    assert tool.apply(root, *(put(path, node) for path, node in flat(first))).code == 0
    expected = {path: node for path, node in tool.entries(root, b"").items() if path}
    assert expected == dict(flat(first))
    replaced = [edit(name, "x") for name in first] + [put(path, node) for path, node in flat(second)]
    assert tool.apply(root, *replaced).code == 0
    assert {path: node for path, node in tool.entries(root, b"").items() if path} == dict(flat(second))


@settings(max_examples=60)
@given(junk=st.binary(max_size=400), at=st.integers(0, 400))
def test_no_input_makes_apply_do_anything_but_succeed_or_refuse(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, junk: bytes, at: int
) -> None:
    root = tmp_path_factory.mktemp("tree")
    stream = edit(b"a/b", "f", b"data", MODE=0o644) + edit(b"c", "l", TARGET=b"a") + encode(TYPE_NUMBERS["COMMIT"])
    ran = tool("apply", root, stdin=stream[:at] + junk + stream[at + len(junk) :])
    assert ran.code in (0, 1)
    assert ran.code == 0 or list(root.iterdir()) == []


def test_a_users_file_with_a_name_like_the_staging_folders_is_listed_and_stays(tool: Tool, root: Path) -> None:
    names = [b".pyro-staging-", b".pyro-staging-mine", b".pyro-staging-0123456789abcdefg"]
    for name in names:
        (root / os.fsdecode(name)).mkdir()
    (root / ".pyro-staging-0123456789abcdef").mkdir()

    assert tool.apply(root, edit(b"f", "f", b"1")).code == 0

    assert list(tool.entries(root, b"")) == [b"", *names[:1], names[2], names[1], b"f"]
    assert sorted(os.listdir(os.fsencode(root))) == [*sorted(names), b"f"]
