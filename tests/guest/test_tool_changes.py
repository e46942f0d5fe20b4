"""What guest/TREE.md promises of `changes`, `copy` and `freeze`, on real overlays and other mounts of this host."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_mcp.guest_protocol.frames import encode
from tests.guest.tool import DEADLINE, TYPE_NUMBERS, Message, Ran, Tool, edit, messages

MOUNTS = """
mount -t tmpfs none "$AREA"
cd "$AREA"
mkdir lower upper work merged
(cd lower; eval "$SEED")
mount -t overlay -o "lowerdir=lower,upperdir=upper,workdir=work,redirect_dir=on" overlay merged
(cd merged; eval "$STEPS")
"""
SEED = """
mkdir -p a/sub b
echo one >a/one; echo two >a/two; echo three >a/sub/three; echo four >b/four
ln -s one a/link; ln a/one hard; chmod 755 a/two; seq 100000 >big
"""


@pytest.fixture(scope="module", autouse=True)
def mounts() -> None:
    """Mount namespaces, without which there is nothing to test."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, timeout=DEADLINE).returncode != 0:
        pytest.skip("mounts need root")


def in_mounts(tool: Tool, area: Path, script: str, **variables: str) -> Ran:
    """Run a script that ends in the tool, in a mount namespace of its own."""
    environ = os.environ | variables | {"AREA": str(area), "TOOL": str(tool.binary)}
    argv = ["unshare", "--mount", "sh", "-euc", script]
    done = subprocess.run(argv, env=environ, capture_output=True, timeout=DEADLINE, check=False)
    return Ran(done.returncode, messages(done.stdout), done.stderr.decode())


def changes(tool: Tool, area: Path, steps: str, seed: str = SEED) -> list[Message]:
    """What the tool says has changed after the steps were done in a workspace that began as the seed."""
    script = f'{MOUNTS}\n"$TOOL" changes upper lower merged'
    return in_mounts(tool, area, script, SEED=seed, STEPS=steps).of("CHANGE")


def whole_changes(tool: Tool, area: Path, steps: str) -> list[Message]:
    """What the tool says has changed after the steps were done in a plain copy of the seed."""
    script = """
        cd "$AREA"; mkdir before
        (cd before; eval "$SEED")
        cp -a --no-preserve=links before after
        (cd after; eval "$STEPS")
        "$TOOL" changes before after
    """
    return in_mounts(tool, area, script, SEED=SEED, STEPS=steps).of("CHANGE")


def told(found: list[Message]) -> list[str]:
    """Each change as a line: sign, path, kinds or modes."""
    lines = []
    for each in found:
        path = each.path.decode()
        if "OLD_KIND" not in each.fields:
            lines.append(f"+{each.letter('NEW_KIND')} {path}" + (" moved" if "ORIGIN" in each.fields else ""))
        elif "NEW_KIND" not in each.fields:
            lines.append(f"-{each.letter('OLD_KIND')} {path}")
        elif each.letter("OLD_KIND") != each.letter("NEW_KIND"):
            lines.append(f"{each.letter('OLD_KIND')}>{each.letter('NEW_KIND')} {path}")
        else:
            lines.append(f"{'~' if each.number('CONTENT_DIFFERS') else '='}{each.letter('NEW_KIND')} {path}")
    return lines


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("", []),
        ("touch a/one a hard; echo one >a/one; cp -p b/four b/new; rm b/new", []),
        ("echo x >>b/four", ["~f b/four"]),
        ("printf 'FOUR\\n' >b/four", ["~f b/four"]),
        ("chmod 700 a/two a", ["=d a", "=f a/two"]),
        ("chown 5 a/two", []),
        ("rm b/four", ["-f b/four"]),
        ("rm -r a", ["-d a", "-f a/link".replace("f", "l"), "-f a/one", "-d a/sub", "-f a/sub/three", "-f a/two"]),
        ("rm -r b; mkdir b", ["-f b/four"]),
        ("rm -r b; mkdir b; echo four >b/four", []),
        ("rm -r b; mkdir b; echo 4444 >b/four; mkdir b/x", ["~f b/four", "+d b/x"]),
        ("rm b/four; echo four >b/four", []),
        ("mkdir -p n/m; echo x >n/m/f; mkfifo n/p; ln -s t n/l", ["+d n", "+l n/l", "+d n/m", "+f n/m/f", "+p n/p"]),
        ("rm b/four; mkdir b/four; echo x >b/four/x", ["f>d b/four", "+f b/four/x"]),
        ("rm -r b; ln -s a b", ["d>l b", "-f b/four"]),
        ("rm -r b; echo x >b", ["d>f b", "-f b/four"]),
        ("ln -sf two a/link", ["~l a/link"]),
        ("ln b/four b/five", ["+f b/five"]),
        ("echo x >hard", ["~f hard"]),
        ("mv b/four b/five", ["+f b/five", "-f b/four"]),
        ("mv b c", ["-d b", "-f b/four", "+d c", "+f c/four moved"]),
        ("mv b a/b; mv a/b d; mv d e", ["-d b", "-f b/four", "+d e", "+f e/four moved"]),
        ("mv b c; mv c b", []),
        ("mv b c; echo x >c/four; echo y >c/new", ["-d b", "-f b/four", "+d c", "+f c/four", "+f c/new"]),
        ("mv b c; mkdir b; echo four >b/four", ["+d c", "+f c/four moved"]),
        ("mv a/sub a/s; mv a c", ["-d a", "-l a/link", "-f a/one", "-d a/sub", "-f a/sub/three", "-f a/two", "+d c",
                                  "+l c/link", "+f c/one moved", "+d c/s", "+f c/s/three moved", "+f c/two moved"]),
        ("mv a t; mv b a; mv t b", ["+f a/four moved", "-l a/link", "-f a/one", "-d a/sub", "-f a/sub/three",
                                    "-f a/two", "-f b/four", "+l b/link", "+f b/one moved", "+d b/sub",
                                    "+f b/sub/three moved", "+f b/two moved"]),
        ("mv a/sub s; rm -r a; mkdir a; mv s a/sub", ["-l a/link", "-f a/one", "-f a/two"]),
        ("mkdir .pyro-staging-0123456789abcdef; touch .pyro-staging-0123456789abcdef/x", []),
        ("mkdir -p b/.pyro-staging-0123456789abcdef", ["+d b/.pyro-staging-0123456789abcdef"]),
    ],
)  # fmt: skip
def test_a_change_is_seen_as_what_it_is(tool: Tool, tmp_path: Path, steps: str, expected: list[str]) -> None:
    assert told(changes(tool, tmp_path, steps)) == expected
    assert told(whole_changes(tool, tmp_path, steps)) == [line.removesuffix(" moved") for line in expected]


def test_a_change_tells_both_sides_and_the_inode_a_moved_file_came_from(tool: Tool, tmp_path: Path) -> None:
    found = changes(tool, tmp_path, "mv b c; chmod 600 a/two; echo longer >>a/two; rm a/one")
    by_path = {each.path: each.fields for each in found}
    two = by_path[b"a/two"]
    assert (two["OLD_MODE"], two["NEW_MODE"], two["OLD_SIZE"], two["NEW_SIZE"]) == (0o755, 0o600, 4, 11)
    assert by_path[b"c/four"]["ORIGIN"] == by_path[b"b/four"]["OLD_INODE"]
    assert "OLD_INODE" not in by_path[b"c/four"]


PATHS = ["a", "b", "c", "a/sub", "b/sub", "a/one", "b/four", "c/one", "c/sub", "a/sub/three", "hard", "new"]
STEP = st.builds(
    lambda verb, one, other: verb.format(one=one, other=other),
    st.sampled_from([
        "mv {one} {other}", "mv -T {one} {other}", "rm -r {one}", "mkdir {one}", "mkdir -p {one}/{other}",
        "touch {one}", "echo {other} >{one}", "cp -r {one} {other}", "ln {one} {other}", "ln -s {one} {other}",
        "chmod 700 {one}",
    ]),
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
)  # fmt: skip


def compared(old: list[Message], new: list[Message]) -> list[str]:
    """What `changes` should say, from two whole walks."""
    before, after = sides(old), sides(new)
    lines = []
    for path in sorted(before.keys() | after.keys(), key=lambda path: path.split(b"/")):
        one, other = before.get(path), after.get(path)
        text = path.decode()
        if one is None and other is not None:
            lines.append(f"+{other[0]} {text}")
        elif one is not None and other is None:
            lines.append(f"-{one[0]} {text}")
        elif one is not None and other is not None and one[0] != other[0]:
            lines.append(f"{one[0]}>{other[0]} {text}")
        elif one is not None and other is not None and one != other:
            lines.append(f"{'~' if one[2] != other[2] else '='}{one[0]} {text}")
    return lines


def sides(walk: list[Message]) -> dict[bytes, tuple[str, int, bytes]]:
    found: dict[bytes, tuple[str, int, bytes]] = {}
    for each in walk:
        if each.name == "ENTRY" and each.path:
            last = each.path
            target = each.fields.get("TARGET", b"")
            assert isinstance(target, bytes)
            found[last] = (each.letter(), each.number("MODE"), target)
        elif each.name == "DATA":
            found[last] = (*found[last][:2], found[last][2] + each.data)
    return found


@settings(max_examples=60)
@given(steps=st.lists(STEP, max_size=12))
def test_changes_are_those_that_two_whole_walks_show(
    tool: Tool, tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    script = f"""{MOUNTS}
    "$TOOL" changes upper lower merged
    "$TOOL" walk --content 999999999 lower ""
    "$TOOL" walk --content 999999999 merged ""
    """
    lenient = "\n".join(f"( {step} ) 2>/dev/null || :" for step in steps)
    ran = in_mounts(tool, tmp_path_factory.mktemp("area"), script, SEED=SEED.replace("100000", "10"), STEPS=lenient)
    assert (ran.code, ran.complaint) == (0, "")
    ends = [at for at, each in enumerate(ran.messages) if each.name == "END"]
    found, old, new = (ran.messages[start:end] for start, end in zip([0, ends[0], ends[1]], ends, strict=True))
    assert [line.removesuffix(" moved") for line in told(found)] == compared(old, new)
    contents = {each.number("INODE"): each for each in old if each.name == "ENTRY"}
    for each in found:
        if "ORIGIN" in each.fields:
            origin = contents[each.number("ORIGIN")].path
            assert sides(old)[origin][2] == sides(new)[each.path][2]


# apply, on an overlay


EDITS = [
    edit(b"a", "x"),
    edit(b"b/four", "f", b"4"),
    edit(b"c/d/new", "f", b"new"),
    edit(b"hard", "l", TARGET=b"b"),
    edit(b"b", "m", MODE=0o700),
    edit(b"a", "f", b"a file"),
]


def applied(tool: Tool, area: Path, edits: list[bytes], *options: str) -> tuple[str, list[str]]:
    """What an apply to an overlay complained of, its exit code behind, and what has changed then."""
    (area / "stream").write_bytes(b"".join(edits) + encode(TYPE_NUMBERS["COMMIT"]))
    script = f"""
    exec 3<"$AREA/stream"
    {MOUNTS}
    "$TOOL" apply {" ".join(options)} merged <&3 >/dev/null 2>complaint || echo $? >>complaint
    "$TOOL" changes upper lower merged
    test -z "$(find upper work -name '.pyro*')"
    cat complaint >&2
    """
    ran = in_mounts(tool, area, script, SEED=SEED, STEPS="")
    return ran.complaint, told(Ran(ran.code, ran.messages, "").of("CHANGE"))


def test_edits_are_made_on_what_only_the_baseline_has(tool: Tool, tmp_path: Path) -> None:
    complaint, changed = applied(tool, tmp_path, EDITS)
    assert complaint == ""
    assert changed == ["d>f a", "-l a/link", "-f a/one", "-d a/sub", "-f a/sub/three", "-f a/two", "=d b", "~f b/four",
                       "+d c", "+d c/d", "+f c/d/new", "f>l hard"]  # fmt: skip


def test_edits_that_fail_are_undone_as_if_nothing_had_been(tool: Tool, tmp_path: Path) -> None:
    complaint, changed = applied(tool, tmp_path, [*EDITS, edit(b"none", "x")])
    assert (complaint, changed) == ("none: No such file or directory\n1\n", [])


def test_a_folder_of_the_baseline_gives_way_to_a_file_and_a_file_to_a_folder(tool: Tool, tmp_path: Path) -> None:
    complaint, changed = applied(tool, tmp_path, [edit(b"b", "f", b"b"), edit(b"big", "d")], "--replace")
    assert (complaint, changed) == ("", ["d>f b", "-f b/four", "f>d big"])


# copy


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """All that a copy keeps of a tree, names that share a file included."""
    found: dict[str, tuple[object, ...]] = {}
    firsts: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        name, told = str(path.relative_to(root)), path.lstat()
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
        }
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        same = None if path.is_dir() else firsts.setdefault(told.st_ino, name)
        found[name] = (
            told.st_mode,
            told.st_uid,
            told.st_gid,
            told.st_rdev,
            told.st_mtime_ns,
            attributes,
            content,
            same,
        )
    return found


def test_a_copy_has_everything_that_the_tree_has(tool: Tool, tmp_path: Path) -> None:
    source, copy = tmp_path / "from", tmp_path / "to"
    (source / "a/b").mkdir(parents=True)
    copy.mkdir()
    file = source / "a/b/file"
    file.write_bytes(b"data")
    os.link(file, source / "a/hard")
    (source / "a/link").symlink_to("../x")
    os.link(source / "a/link", source / "link", follow_symlinks=False)
    os.mkfifo(source / "a/pipe", 0o622)
    os.mknod(source / "a/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with (source / "sparse").open("wb") as sparse:
        sparse.write(b"start")
        sparse.seek(50_000_000)
        sparse.write(b"end")
        sparse.truncate(60_000_000)
    for path in (file, source / "a/link", source / "a"):
        os.chown(path, 5, 6, follow_symlinks=False)
    file.chmod(0o4755)
    os.setxattr(file, "user.note", b"text")
    os.setxattr(file, "security.capability", bytes.fromhex("0000000200240000000000000000000000000000"))
    (source / "a").chmod(0o2711)
    for at, path in enumerate([*source.rglob("*"), source]):
        os.utime(path, ns=(0, 10**18 + at), follow_symlinks=False)
    assert tool("copy", source, copy).messages == [Message("END", {"COUNT": 9})]
    assert facts(copy) == facts(source)
    assert (copy / "sparse").stat().st_blocks * 512 < 1_000_000


def test_a_copy_leaves_other_mounts_out_unless_they_are_named(tool: Tool, tmp_path: Path) -> None:
    script = """
    mount -t tmpfs none "$AREA"; cd "$AREA"; mkdir -p from/out from/in from/in/out to
    mount -t tmpfs none from/out; touch from/out/x; mount -t tmpfs none from/in; touch from/in/y
    "$TOOL" copy --also in from to
    (cd to; test "$(find . | sort | xargs)" = ". ./in ./in/y ./out")
    """
    ran = in_mounts(tool, tmp_path, script)
    assert ran.code == 0 and ran.messages == [Message("END", {"COUNT": 3})]


def test_a_copy_onto_what_is_there_is_refused(tool: Tool, tmp_path: Path) -> None:
    for folder in ("from", "to"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").touch()
    assert tool("copy", tmp_path / "from", tmp_path / "to").refusal() == "name: File exists"


# freeze


def test_a_file_system_that_cannot_be_frozen_is_an_error(tool: Tool, tmp_path: Path) -> None:
    script = 'mount -t tmpfs none "$AREA"; exec "$TOOL" freeze "$AREA"'
    ran = in_mounts(tool, tmp_path, script)
    assert ran.code == 1 and ran.messages == [] and ran.complaint.startswith(f"{tmp_path}: ")


def test_a_folder_whose_content_lies_too_deep_is_named_and_the_rest_is_compared(tool: Tool, tmp_path: Path) -> None:
    found = changes(tool, tmp_path, "for level in $(seq 1003); do mkdir d && cd d; done; cd $AREA/merged; touch e")
    assert [message.path for message in found if message.name == "UNLISTED"] == [b"/".join([b"d"] * 1000)]
    assert len(found) == 1000 + 1 + 1 and found[-1].path == b"e"
