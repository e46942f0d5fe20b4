"""Pushes that never reach the upstream, each beside one that does."""

from __future__ import annotations

import os
import zlib

import pytest

from claude_bottle.gate.commands import ZERO
from claude_bottle.gate.quarantine import PushLimits
from claude_bottle.gate.remotes import PushRule
from tests.bottles.gate.raw import commands, objects_of, pack, post
from tests.bottles.gate.world import AGENT, World, text

# No secrets: they have the form of some, and stand in parts so that no scanner of this repository finds them.
AWS = "AKIA" + "IOSFODNN7ABCDEFG"
ANTHROPIC = "sk-ant-" + "api03-" + "a1B2" * 12


def refused(world: World, *push: str) -> str:
    """Push, and return what git said; fail when the upstream has changed or a person was asked."""
    before, asked = world.refs(), len(world.person.asked)
    done = world.push(*push)
    assert done.returncode != 0, text(done)
    assert world.refs() == before
    assert len(world.person.asked) == asked
    return text(done)


def arrives(world: World, *push: str) -> None:
    """The positive control: the same way works for what is allowed."""
    done = world.push(*push)
    assert done.returncode == 0, text(done)


@pytest.fixture(autouse=True)
def everything_is_approved(world: World) -> None:
    world.person.decision = "approved"


@pytest.mark.parametrize(
    ("push", "reason"),
    [
        (["origin", "HEAD:main"], "refs/heads/main may not be pushed; allowed by the manifest: refs/heads/agent/*"),
        (["origin", "HEAD:agents/x"], "may not be pushed"),
        (["origin", "HEAD:refs/heads/agent/-x"], "may not be pushed"),
        (["origin", "HEAD:refs/pull/1/head"], "may not be pushed"),
        (["origin", "v1:refs/tags/v2"], "may not be pushed"),
        (["origin", "--tags", "HEAD:agent/x"], "may not be pushed"),
        (["--mirror", "origin"], "deleting is never allowed: refs/heads/agent/old"),
        (["origin", ":agent/old"], "deleting is never allowed"),
        (["origin", "HEAD:agent/x", "HEAD:main"], "may not be pushed"),
    ],
)
def test_a_ref_that_is_not_declared(world: World, push: list[str], reason: str) -> None:
    world.git("push", "-q", str(world.upstream), "main:agent/old", cwd=world.root / "seed")
    with world.gate():
        world.git("tag", "-f", "t3", "HEAD")
        world.commit({"a": "b"})
        assert reason in refused(world, *push)
        arrives(world, "origin", "HEAD:agent/x")


def test_a_push_that_would_lose_commits_even_with_force(world: World) -> None:
    world.git("push", "-q", str(world.upstream), "main:agent/x", cwd=world.root / "seed")
    with world.gate():
        world.git("reset", "-q", "--hard", "HEAD~1")
        world.commit({"a": "b"})
        assert "force is never allowed" in refused(world, "origin", "+HEAD:agent/x")
        assert "force is never allowed" in refused(world, "--force-with-lease", "origin", "HEAD:agent/x")
        arrives(world, "origin", "HEAD:agent/y")


def test_a_deletion_by_a_client_that_ignores_what_was_offered(world: World) -> None:
    world.git("push", "-q", str(world.upstream), "main:agent/x", cwd=world.root / "seed")
    before = world.refs()
    with world.gate() as url:
        answer = post(f"{url}/origin.git", commands([(world.base, ZERO, "refs/heads/agent/x")]))
    assert b"ng refs/heads/agent/x deleting is never allowed" in answer
    assert world.refs() == before


def test_a_tag_is_made_but_never_moved(world: World) -> None:
    with world.gate(world.remote(PushRule("refs/tags/*"))):
        world.commit({"a": "b"})
        world.git("tag", "-f", "v1")
        assert "a tag is never moved" in refused(world, "-f", "origin", "v1")
        arrives(world, "origin", "HEAD:refs/tags/v2")


def test_an_upstream_that_has_changed_meanwhile(world: World) -> None:
    world.person.decision = "pending"
    with world.gate():
        world.commit({"a": "b"})
        assert "held as request r1" in text(world.push("origin", "HEAD:agent/x"))
        world.git("push", "-q", str(world.upstream), "main:agent/x", cwd=world.root / "seed")
        world.person.decide(1, "approved")
        world.git("commit", "-q", "--amend", "-m", "other")
        before = world.refs()
        done = world.push("origin", "HEAD:agent/x")
        assert done.returncode != 0
        assert world.refs() == before


def test_an_upstream_that_changes_between_the_check_and_the_push(world: World) -> None:
    with world.gate() as url:
        new = world.commit({"a": "b"})
        body = commands([(ZERO, new, "refs/heads/agent/x")]) + pack(world, objects_of(world, new, without=world.base))
        world.git("push", "-q", str(world.upstream), "main:agent/x", cwd=world.root / "seed")
        before = world.refs()
        answer = post(f"{url}/origin.git", body)
        assert b"has changed meanwhile: fetch, and push again" in answer
        assert world.refs() == before


def test_an_approval_is_for_these_ids_only_and_for_once(world: World) -> None:
    world.person.decision = "pending"
    with world.gate():
        world.commit({"a": "b"})
        world.push("origin", "HEAD:agent/x")
        world.person.decide(1, "approved")
        world.commit({"a": "c"})
        assert "held as request r2" in text(world.push("origin", "HEAD:agent/x"))
        assert "held as request r3" in text(world.push("origin", "HEAD~1:refs/heads/agent/y"))
        assert "refs/heads/agent/x" not in world.refs()
        arrives(world, "origin", "HEAD~1:refs/heads/agent/x")


def test_hidden_commits_in_the_pack(world: World) -> None:
    with world.gate() as url:
        hidden = world.commit({"hidden": "x"}, "hidden")
        world.git("reset", "-q", "--hard", world.base)
        new = world.commit({"a": "b"})
        wanted = objects_of(world, new, without=world.base)
        extra = objects_of(world, hidden, without=world.base)
        update = commands([(ZERO, new, "refs/heads/agent/x")])
        answer = post(f"{url}/origin.git", update + pack(world, [*wanted, *extra]))
        assert (
            b"hidden objects, which no pushed ref leads to: 1 of kind blob, 1 of kind commit, 1 of kind tree" in answer
        )
        assert "refs/heads/agent/x" not in world.refs()
        answer = post(f"{url}/origin.git", update + pack(world, wanted))
        assert b"ok refs/heads/agent/x" in answer
    assert world.refs()["refs/heads/agent/x"] == new
    assert world.git("cat-file", "-e", hidden, cwd=world.upstream, check=False).returncode != 0


def test_a_pack_that_lacks_objects(world: World) -> None:
    with world.gate() as url:
        new = world.commit({"a": "b"})
        blob = world.out("rev-parse", "HEAD:a")
        ids = [one for one in objects_of(world, new, without=world.base) if one != blob]
        answer = post(f"{url}/origin.git", commands([(ZERO, new, "refs/heads/agent/x")]) + pack(world, ids))
        assert b"ng refs/heads/agent/x git refuses the objects" in answer or b"are missing" in answer
        assert "refs/heads/agent/x" not in world.refs()
        arrives(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize("secret", [AWS, ANTHROPIC, "-----BEGIN RSA PRIVATE " + "KEY-----"])
def test_a_secret_in_the_history_that_the_last_commit_has_no_more(world: World, secret: str) -> None:
    with world.gate():
        world.commit({"settings": f"first\nkey = {secret}\n"})
        world.commit({"settings": "first\n"})
        said = refused(world, "origin", "HEAD:agent/x")
        assert "settings, line 2 (fingerprint" in said
        assert secret not in said
        world.git("reset", "-q", "--hard", world.base)
        world.commit({"settings": "first\n"})
        arrives(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_secret_in_another_encoding(world: World, encoding: str) -> None:
    with world.gate():
        world.commit({"settings": f"key {AWS}\n".encode(encoding)})
        assert "AWS Access Key in settings" in refused(world, "origin", "HEAD:agent/x")


def test_a_secret_in_the_message_of_a_commit_or_a_tag(world: World) -> None:
    with world.gate(world.remote(AGENT, PushRule("refs/tags/*"))):
        world.commit({"a": "b"}, f"use {AWS}")
        assert "AWS Access Key in the text of" in refused(world, "origin", "HEAD:agent/x")
        world.git("reset", "-q", "--hard", world.base)
        world.git("tag", "-a", "-m", f"use {AWS}", "v2")
        assert "AWS Access Key in the text of" in refused(world, "origin", "v2")


def test_a_secret_in_the_name_of_a_file(world: World) -> None:
    with world.gate():
        world.commit({f"notes/{AWS}.txt": "x"})
        assert "AWS Access Key in the text of" in refused(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize("named", ["HEAD^{tree}", "HEAD:README"])
def test_a_tag_of_something_that_is_no_commit(world: World, named: str) -> None:
    with world.gate(world.remote(PushRule("refs/tags/*"))):
        world.commit({"a": "b"})
        world.git("tag", "lone", named)
        world.git("tag", "-a", "-m", "x", "annotated", named)
        for tag in ("lone", "annotated"):
            assert "would not name a commit" in refused(world, "origin", tag)
        world.git("tag", "good")
        arrives(world, "origin", "good")


def test_a_comment_does_not_excuse_a_secret_but_the_manifest_does(world: World) -> None:
    with world.gate():
        world.commit({"a": f"key = '{AWS}'  # pragma: allowlist secret\n"})
        said = refused(world, "origin", "HEAD:agent/x")
    fingerprint = said.partition("(fingerprint ")[2][:16]
    with world.gate(world.remote(not_secret=(fingerprint,)), clone=False) as url:
        world.git("remote", "set-url", "origin", f"{url}/origin.git")
        arrives(world, "origin", "HEAD:agent/x")


def test_a_secret_that_the_upstream_has_already_is_left_alone(world: World) -> None:
    world.commit({"old": f"key = {AWS}\n"}, cwd=world.root / "seed")
    world.git("push", "-q", str(world.upstream), "main", cwd=world.root / "seed")
    with world.gate():
        world.commit({"old": f"key = {AWS}\nmore\n"})
        arrives(world, "origin", "HEAD:agent/x")


@pytest.mark.parametrize(
    ("limits", "files", "reason"),
    [
        (PushLimits(file_bytes=1 << 20), {"big": os.urandom(2 << 20)}, "'big' has 2 MiB; the limit is 1 MiB"),
        (PushLimits(unpacked_bytes=1 << 20), {"a": b"a" * (2 << 20)}, "has 2 MiB unpacked; the limit is 1 MiB"),
        (PushLimits(pack_bytes=1 << 20), {"a": os.urandom(2 << 20)}, "the push is larger than 1 MiB"),
        (PushLimits(objects=20), {f"d/{one}": str(one) for one in range(30)}, "objects; the limit is 20"),
    ],
)
def test_a_push_over_a_limit(world: World, limits: PushLimits, files: dict[str, bytes], reason: str) -> None:
    with world.gate(limits=limits):
        world.commit(files)
        assert reason in refused(world, "origin", "HEAD:agent/x")
        world.git("reset", "-q", "--hard", world.base)
        world.commit({"small": "x"})
        arrives(world, "origin", "HEAD:agent/x")


def test_too_many_commits_and_too_many_refs(world: World) -> None:
    with world.gate(limits=PushLimits(commits=3)):
        for number in range(4):
            world.commit({"a": str(number)})
        assert "has 4 commits; the limit is 3" in refused(world, "origin", "HEAD:agent/x")
        arrives(world, "origin", "HEAD~1:refs/heads/agent/x")
        many = [f"HEAD~1:refs/heads/agent/r{number}" for number in range(9)]
        assert "changes 9 refs; the git gate takes 8" in refused(world, "origin", *many)


def test_a_change_that_is_too_large_for_a_person(world: World) -> None:
    with world.gate():
        world.commit({f"text{number}": "line of text\n" * 100_000 for number in range(4)})
        assert "too much to be shown to a person" in refused(world, "origin", "HEAD:agent/x")


def test_a_pack_that_unpacks_to_much_more_than_it_is(world: World) -> None:
    content = zlib.compress(bytes(300 << 20), 9)
    with world.gate() as url:
        new = world.commit({"a": "b"})
        size, head = 300 << 20, bytearray()
        byte = (3 << 4) | (size & 15)
        size >>= 4
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        body = b"PACK" + (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes(head) + content + bytes(20)
        answer = post(f"{url}/origin.git", commands([(ZERO, new, "refs/heads/agent/x")]) + body)
        assert b"ng refs/heads/agent/x git refuses the objects" in answer
        arrives(world, "origin", "HEAD:agent/x")


LINKS = [
    ("a", "/etc/passwd", "a symbolic link that leads out of the tree"),
    ("src/a", "../../x", "a symbolic link that leads out of the tree"),
    ("a", ".git/config", "a symbolic link into .git"),
    ("src/a", "../.GIT/hooks", "a symbolic link into .git"),
    ("src/a", "b/../../x", "a symbolic link that leads up again after it led down"),
    ("readme", "src", "only in the case of its letters"),
]


def test_a_link_that_leads_where_it_should_not(world: World) -> None:
    with world.gate():
        (world.clone / "src/b").symlink_to("../README")
        good = world.commit({})
        arrives(world, "origin", "HEAD:agent/good")
        for path, target, reason in LINKS:
            (world.clone / path).symlink_to(target)
            world.commit({})
            (world.clone / path).unlink()
            world.commit({})
            assert reason in refused(world, "origin", "HEAD:agent/x"), (path, target)
            world.git("reset", "-q", "--hard", good)


FILES: list[tuple[dict[str, str], str]] = [
    ({".gitmodules": '[submodule "a"]\n\tpath = a\n\turl = https://evil.example/x\n'}, "the submodule address"),
    ({".gitmodules": '[submodule "a"]\n\tpath = a\n\turl = ./a\n\tupdate = !sh x\n'}, "git refuses the objects"),
    ({".gitmodules": '[submodule "a"]\n\tpath = a\n\turl = --upload-pack=x\n'}, "git refuses the objects"),
    ({".gitmodules": '[submodule "../a"]\n\tpath = a\n\turl = /srv/a\n'}, "git refuses the objects"),
    ({".lfsconfig": "[lfs]\n\turl = https://evil.example/lfs\n"}, "the LFS address https://evil.example/lfs"),
    ({".LfsConfig": '[remote "o"]\n\tlfsurl = https://evil.example/\n'}, "the LFS address"),
    ({"big": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"}, "LFS pointer"),
    ({"src/.gitattributes": "*.c filter=evil\n"}, "chooses the filter driver evil"),
    ({".gitattributes": "[attr]x merge=evil\n"}, "chooses the merge driver evil"),
    ({"a/HEAD": "ref: x\n", "a/objects/x": "", "a/refs/x": "", "a/config": "[core]\n"}, "takes as a repository"),
]


def test_files_by_which_git_does_more(world: World) -> None:
    with world.gate():
        good = world.commit({"a.txt": "x", ".gitattributes": "*.txt text eol=lf\n*.md merge=union\n"})
        arrives(world, "origin", "HEAD:agent/good")
        for files, reason in FILES:
            world.commit(files)
            world.git("rm", "-q", "-r", *files)
            world.git("commit", "-q", "-m", "and remove them")
            assert reason in refused(world, "origin", "HEAD:agent/x"), files
            world.git("reset", "-q", "--hard", good)


def test_a_submodule_of_a_declared_remote_is_a_remark_for_a_person(world: World) -> None:
    with world.gate():
        world.commit({".gitmodules": f'[submodule "a"]\n\tpath = a\n\turl = {world.upstream}\n'})
        world.git("update-index", "--add", "--cacheinfo", f"160000,{world.base},a")
        world.git("commit", "-q", "-m", "submodule")
        world.person.decision = "pending"
        assert "held" in text(world.push("origin", "HEAD:agent/x"))
    shown = next((world.state / "origin/held").glob("*/shown.json")).read_text()
    assert "a: a submodule, whose content is in another repository" in shown


def test_names_that_are_dot_git_on_some_file_system(world: World) -> None:
    names = [".git", ".GIT", "git~1", ".git ", ".git::$INDEX_ALLOCATION", ".g\u200cit", "..", "."]
    with world.gate():
        blob = world.git("hash-object", "-w", "--stdin", stdin=b"x").stdout.decode().strip()
        inner = _tree(world, [("100644", "config", blob)])
        for name in [*names, "good"]:
            new = world.out("commit-tree", "-p", world.base, "-m", "x", _tree(world, [("40000", name, inner)]))
            if name == "good":
                arrives(world, "origin", f"{new}:refs/heads/agent/x")
            else:
                assert "git refuses the objects" in refused(world, "origin", f"{new}:refs/heads/agent/x"), name


def _tree(world: World, entries: list[tuple[str, str, str]]) -> str:
    raw = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(id_) for mode, name, id_ in entries)
    return world.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw).stdout.decode().strip()
