"""Pushes that read in one way to a check and in another to git, or to a person."""

from __future__ import annotations

import time

import pytest

from claude_bottle.gate.commands import ZERO
from claude_bottle.gate.quarantine import PushLimits
from claude_bottle.gate.remotes import PushRule
from claude_bottle.gate.shown import HeldPush
from tests.bottles.gate.raw import commands, post
from tests.bottles.gate.test_refused_pushes import ANTHROPIC, AWS, refused
from tests.bottles.gate.world import World, text

ALWAYS = PushRule("refs/heads/agent/*", "always")

ATTRIBUTES = [
    b'"*"filter=evil\n',
    *(b"*[!" + one + b"#] filter=evil\n" for one in (b"\v", b"\f", b"\x1c", b"\xc2\x85")),
]


@pytest.mark.parametrize("line", ATTRIBUTES)
def test_a_line_of_attributes_ends_only_where_it_ends_for_git(world: World, line: bytes) -> None:
    with world.gate():
        world.commit({".gitattributes": line, "f.sh": "x\n"})
        assert world.out("check-attr", "filter", "f.sh") == "f.sh: filter: evil"
        assert "chooses the filter driver evil" in refused(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize(("name", "section"), [(".gitmodules", 'submodule "a"'), (".lfsconfig", "lfs")])
def test_settings_that_are_too_large_to_be_checked_are_refused(world: World, name: str, section: str) -> None:
    with world.gate():
        comments = f"# {'a' * 60}\n" * 4300
        world.commit({name: f"{comments}[{section}]\n\turl = https://evil.example/x\n"})
        assert "too large to be checked" in refused(world, "origin", "HEAD:agent/x")


def test_a_link_that_leads_out_of_the_tree_through_another_link(world: World) -> None:
    (world.root / "outside").write_text("outside")
    with world.gate():
        world.commit({"top/keep": "x", "a/b/keep": "x"})
        (world.clone / "a/b/up").symlink_to("../../top")
        (world.clone / "a/b/out").symlink_to("up/../../outside")
        world.commit({})
        assert (world.clone / "a/b/out").read_text() == "outside"
        assert "a/b/out: a symbolic link that leads up again" in refused(world, "origin", "HEAD:agent/x")


def held(world: World, *push: str) -> HeldPush:
    """Push; return what a person sees of the push, which is held."""
    done = world.push(*push)
    assert "held as request" in text(done), text(done)
    (folder,) = (world.state / "origin/held").iterdir()
    shown = HeldPush.load(folder)
    assert shown is not None
    return shown


def test_a_flood_of_known_secrets_hides_no_new_one(world: World) -> None:
    seed = world.root / "seed"
    known = "".join(f"key {number} = {AWS}\n" for number in range(600))
    world.commit({"a": known}, cwd=seed)
    world.git("push", "-q", str(world.upstream), "main", cwd=seed)
    with world.gate(world.remote(ALWAYS)):
        base = world.out("rev-parse", "HEAD")
        world.commit({"a": f"key = {AWS}\n" * 600 + f"new = {ANTHROPIC}\n"})
        assert "Anthropic key in a, line 601" in refused(world, "origin", "HEAD:agent/x")
        world.git("reset", "-q", "--hard", base)
        world.commit({"a": known + f"new = {ANTHROPIC}\n"})
        assert "known lines look like secrets" in refused(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize(
    "content",
    [
        f"\xea{ANTHROPIC}\n".encode("latin-1"),
        f"\xb5{ANTHROPIC}".encode(),
        f"x_{ANTHROPIC}".encode(),
        ANTHROPIC.encode("utf-16"),
        b"hf_" + b"a1B2" * 9,
        b"hvs." + b"a1B2" * 9,
        b"dop_v1_" + b"a1b2" * 16,
        b"tskey-auth-" + b"a1B2" * 3 + b"-" + b"a1B2" * 6,
    ],
)
def test_a_secret_is_found_whatever_stands_before_it(world: World, content: bytes) -> None:
    with world.gate(world.remote(ALWAYS)):
        world.commit({"settings": content})
        assert " in settings, line " in refused(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize("start", ["version https://hawser.github.com/spec/v1", "\n version http://git-media.io/v/2"])
def test_an_lfs_pointer_of_an_old_form(world: World, start: str) -> None:
    with world.gate(world.remote(ALWAYS)):
        world.commit({"big": f"{start}\noid sha256:{'a' * 64}\nsize 12\n"})
        assert "LFS pointer in big" in refused(world, "origin", "HEAD:agent/x")


def test_a_flood_of_notes_hides_no_workflow(world: World) -> None:
    with world.gate():
        for number in range(55):
            world.git("update-index", "--add", "--cacheinfo", f"160000,{world.base},.aaa/{number:02}")
        (world.clone / ".github/workflows").mkdir(parents=True)
        (world.clone / ".github/workflows/z.yml").write_text("on: push\n")
        world.git("add", "--force", ".github")
        world.git("commit", "-q", "-m", "x")
        world.person.decision = "pending"
        assert held(world, "origin", "HEAD:agent/x").remarks == (
            ".github/workflows/z.yml: is run by GitHub Actions, once pushed",
            ".aaa/00, .aaa/01, .aaa/02 and 52 more: a submodule, whose content is in another repository",
        )


def tree(world: World, entries: list[tuple[str, str, str]]) -> str:
    """Return a tree of entries with a mode, an object and a name."""
    kinds = {"040000": "tree", "160000": "commit"}
    rows = "".join(f"{mode} {kinds.get(mode, 'blob')} {id_}\t{name}\0" for mode, id_, name in entries)
    return world.git("mktree", "-z", stdin=rows.encode()).stdout.decode().strip()


def blob(world: World, content: bytes) -> str:
    return world.git("hash-object", "-w", "--stdin", stdin=content).stdout.decode().strip()


def test_a_person_sees_what_one_commit_adds_and_another_removes(world: World) -> None:
    world.person.decision = "pending"
    with world.gate():
        world.commit({"rows": "a customer\n"})
        world.git("rm", "-q", "rows")
        world.commit({"b": "harmless\n"})
        assert "+a customer" in held(world, "origin", "HEAD:agent/x").log


def test_a_person_sees_a_history_whose_content_a_merge_leaves_out(world: World) -> None:
    world.person.decision = "pending"
    with world.gate():
        world.git("checkout", "-q", "--orphan", "other")
        world.git("rm", "-rqf", ".")
        world.commit({"rows": "a customer\n"})
        world.git("checkout", "-q", "main")
        world.git("merge", "-q", "--allow-unrelated-histories", "-s", "ours", "-m", "sync", "other")
        assert "+a customer" in held(world, "origin", "HEAD:agent/x").log


def test_a_person_sees_header_fields_that_gits_log_leaves_out(world: World) -> None:
    world.person.decision = "pending"
    with world.gate():
        who = "x <x@y> 1700000000 +0000"
        head = f"tree {world.out('rev-parse', 'HEAD^{tree}')}\nparent {world.base}\nauthor {who}\ncommitter {who}\n"
        raw = f"{head}x-data in a field\n on two lines\n\nsubject\n".encode()
        new = world.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw).stdout.decode()
        log = held(world, "origin", f"{new.strip()}:refs/heads/agent/x").log
        assert f"other fields of commit {new.strip()}\nx-data in a field\n on two lines" in log


def test_a_person_sees_the_whole_text_of_a_tag(world: World) -> None:
    world.person.decision = "pending"
    with world.gate(world.remote(PushRule("refs/tags/*"))):
        message = "".join(f"line {number}\n" for number in range(60))
        world.git("tag", "-a", "-m", message, "v2", "v1")
        shown = held(world, "origin", "v2")
        assert "line 59" in shown.log
        assert "more lines, in the log" in shown.summary


def test_a_tag_of_a_tag(world: World) -> None:
    with world.gate(world.remote(PushRule("refs/tags/*"))):
        world.git("tag", "-a", "-m", "inner", "inner", "v1")
        world.git("tag", "-a", "-m", "outer", "outer", "inner")
        assert "refs/tags/outer would be a tag of a tag" in refused(world, "origin", "outer")


def test_a_ref_that_is_too_long_is_refused(world: World) -> None:
    with world.gate(clone=False) as url:
        update = commands([(ZERO, world.base, "refs/heads/agent/" + "b" * 65000)])
        assert post(f"{url}/origin.git", update).startswith(b"400 the name of a ref has more than 1000 characters")


@pytest.mark.parametrize(("link", "other"), [("\u00e9", "\u00c9"), ("\u00e9", "e\u0301"), ("ln", "LN")])
def test_a_link_beside_a_name_that_some_file_system_takes_for_its_own(world: World, link: str, other: str) -> None:
    with world.gate(world.remote(ALWAYS)):
        (world.clone / link).symlink_to("src")
        world.commit({})
        assert world.push("origin", "HEAD:agent/x").returncode == 0
        world.commit({f"{other}/file": "x"})
        assert "only in the case of its letters" in refused(world, "origin", "HEAD:agent/x")


def test_few_objects_at_many_paths_are_refused(world: World) -> None:
    with world.gate(world.remote(ALWAYS), limits=PushLimits(paths=1000)):
        id_ = tree(world, [("100644", blob(world, b"x"), f"f{number}") for number in range(11)])
        for _ in range(2):
            id_ = tree(world, [("040000", id_, f"d{number}") for number in range(11)])
        new = world.out("commit-tree", id_, "-p", world.base, "-m", "many")
        assert "changes more than 1000 paths" in refused(world, "origin", f"{new}:refs/heads/agent/x")


@pytest.mark.parametrize(("mode", "content", "name"), [("120000", b"target", "link"), ("100644", b"x", "head")])
def test_few_objects_at_many_paths_need_few_programs(world: World, mode: str, content: bytes, name: str) -> None:
    with world.gate(world.remote(ALWAYS)):
        inner = tree(world, [(mode, blob(world, content), name)])
        id_ = tree(world, [("040000", inner, f"d{number}") for number in range(2000)])
        new = world.out("commit-tree", id_, "-p", world.base, "-m", "many")
        begin = time.monotonic()
        assert world.push("origin", f"{new}:refs/heads/agent/x").returncode == 0
        assert time.monotonic() - begin < 20


def test_checks_that_take_too_long_refuse_the_push(world: World) -> None:
    with world.gate(world.remote(ALWAYS), limits=PushLimits(seconds=0)):
        world.commit({"a": "b"})
        assert "the checks did not end within 0 s" in refused(world, "origin", "HEAD:agent/x")


def test_a_file_that_the_diff_does_not_show_is_noted(world: World) -> None:
    world.person.decision = "pending"
    with world.gate(world.remote(ALWAYS)):
        world.commit({"install.js": b"// ok\n//\0\nrun()\n", "b": "text\n"})
        world.git("rm", "-q", "install.js")
        world.commit({"b": "more text\n"})
        remarks = held(world, "origin", "HEAD:agent/x").remarks
        assert remarks == ("install.js: its content is no text for git, and is not shown",)
