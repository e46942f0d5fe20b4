"""Pushes that read in one way to a check and in another to git, or to a person."""

from __future__ import annotations

import pytest

from claude_bottle.gate.remotes import PushRule
from claude_bottle.gate.shown import HeldPush
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
