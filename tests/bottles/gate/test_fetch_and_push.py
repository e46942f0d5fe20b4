"""What works through the gate: cloning, fetching, and pushes that a person approved."""

from __future__ import annotations

import os
import threading

import pytest

from claude_bottle.gate.remotes import PushRule
from claude_bottle.guard.requests import RequestState
from tests.bottles.gate.world import AGENT, World, text

ALWAYS = PushRule("refs/heads/agent/*", "always")


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_a_clone_has_all_branches_and_tags_in_every_version_of_the_protocol(world: World, version: str) -> None:
    with world.gate(clone=False) as url:
        world.git("-c", f"protocol.version={version}", "clone", "-q", f"{url}/origin.git", "clone", cwd=world.root)
    assert (world.clone / "README").read_text() == "two\n"
    assert world.out("rev-parse", "v1") == world.out("rev-parse", "origin/main") == world.base


def test_shallow_and_partial_clones_work(world: World) -> None:
    with world.gate(clone=False) as url:
        world.git("clone", "-q", "--depth=1", f"{url}/origin.git", "shallow", cwd=world.root)
        world.git("clone", "-q", "--filter=blob:none", f"{url}/origin.git", "partial", cwd=world.root)
        assert world.out("rev-list", "--count", "HEAD", cwd=world.root / "shallow") == "1"
        assert world.out("show", "HEAD~1:README", cwd=world.root / "partial") == "one"
        refused = world.git(
            "clone", "--filter=sparse:oid=main:README", f"{url}/origin.git", "x", cwd=world.root, check=False
        )
    assert refused.returncode != 0
    assert "sparse" in text(refused)


def test_a_fetch_gets_what_came_to_the_upstream_later(world: World) -> None:
    with world.gate():
        new = world.commit({"later": "x"}, cwd=world.root / "seed")
        world.git("push", "-q", str(world.upstream), "main", cwd=world.root / "seed")
        world.git("fetch", "-q")
    assert world.out("rev-parse", "origin/main") == new


def test_a_clone_of_an_empty_upstream_and_a_first_push(world: World) -> None:
    world.git("init", "-q", "--bare", "empty.git", cwd=world.root)
    world.person.decision = "approved"
    with world.gate(world.remote(PushRule("refs/heads/main"), url=world.root / "empty.git")):
        new = world.commit({"a": "b"})
        assert world.push("origin", "HEAD:main").returncode == 0
    assert world.out("rev-parse", "main", cwd=world.root / "empty.git") == new


def test_a_large_fetch_request_comes_packed_and_is_understood(world: World) -> None:
    with world.gate():
        for number in range(60):
            world.git("commit", "-q", "--allow-empty", "-m", f"local {number}")
        world.commit({"later": "x"}, cwd=world.root / "seed")
        world.git("push", "-q", str(world.upstream), "main", cwd=world.root / "seed")
        traced = world.git("-c", "protocol.version=0", "fetch", "origin", check=False)
    assert traced.returncode == 0, text(traced)


def test_an_approved_push_arrives_and_nothing_else_changes(world: World) -> None:
    before = world.refs()
    world.person.decision = "approved"
    with world.gate():
        new = world.commit({"src/a.py": "print(2)\n"})
        done = world.push("origin", "HEAD:agent/fix")
    assert done.returncode == 0, text(done)
    assert world.refs() == {**before, "refs/heads/agent/fix": new}
    assert world.person.spent_numbers == [1]
    assert [one["decision"] for one in world.journal] == ["allowed"]
    assert world.journal[0]["who"] == "person tester"
    assert list((world.state / "origin/held").iterdir()) == []


def test_a_push_is_held_and_the_same_push_after_the_approval_arrives(world: World) -> None:
    with world.gate():
        new = world.commit({"src/a.py": "print(2)\n"})
        held = world.push("origin", "HEAD:agent/fix")
        assert held.returncode != 0
        assert "held as request r1" in text(held)
        assert "refs/heads/agent/fix" not in world.refs()
        world.person.decide(1, "approved")
        done = world.push("origin", "HEAD:agent/fix")
    assert done.returncode == 0, text(done)
    assert world.refs()["refs/heads/agent/fix"] == new
    assert len(world.person.asked) == 1
    assert [one["decision"] for one in world.journal] == ["held", "allowed"]


def test_a_push_that_is_approved_while_it_waits_arrives_at_once(world: World) -> None:
    with world.gate(wait_seconds=60):
        new = world.commit({"src/a.py": "print(2)\n"})
        pushed: list[int] = []
        pusher = threading.Thread(target=lambda: pushed.append(world.push("origin", "HEAD:agent/fix").returncode))
        pusher.start()
        with world.person.changed:
            assert world.person.changed.wait_for(lambda: True, 1)
        while not world.person.asked and pusher.is_alive():
            pusher.join(0.05)
        world.person.decide(1, "approved")
        pusher.join(60)
    assert pushed == [0]
    assert world.refs()["refs/heads/agent/fix"] == new


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        ("denied", "it is denied by person tester"),
        ("expired", "it is expired"),
        ("void", "it is void by person tester"),
        ("ended", "it is ended"),
    ],
)
def test_a_push_that_is_not_approved_does_not_arrive(world: World, decision: RequestState, said: str) -> None:
    world.person.decision = decision
    with world.gate():
        world.commit({"src/a.py": "print(2)\n"})
        done = world.push("origin", "HEAD:agent/fix")
    assert done.returncode != 0
    assert f"request r1 was not approved: {said}" in text(done)
    assert "refs/heads/agent/fix" not in world.refs()


def test_a_branch_with_the_rule_always_is_forwarded_without_a_person(world: World) -> None:
    with world.gate(world.remote(ALWAYS)):
        new = world.commit({"src/a.py": "print(2)\n"})
        assert world.push("origin", "HEAD:agent/fix").returncode == 0
        newer = world.commit({"src/a.py": "print(3)\n"})
        assert world.push("origin", "HEAD:agent/fix").returncode == 0
    assert new != newer == world.refs()["refs/heads/agent/fix"]
    assert world.person.asked == []


def test_what_programs_run_by_themselves_is_asked_for_even_with_the_rule_always(world: World) -> None:
    with world.gate(world.remote(ALWAYS)):
        world.commit({".github/workflows/ci.yml": "on: push\n", ".githooks/pre-commit": "#!/bin/sh\n"})
        done = world.push("origin", "HEAD:agent/fix")
    assert "held as request r1" in text(done)
    shown = next((world.state / "origin/held").glob("*/shown.json")).read_text()
    assert "GitHub Actions" in shown
    assert "git hooks of the project" in shown


def test_several_refs_are_one_request_and_arrive_together(world: World) -> None:
    world.person.decision = "approved"
    with world.gate(world.remote(AGENT, PushRule("refs/tags/agent/*"))):
        new = world.commit({"a": "1"})
        world.git("tag", "-a", "-m", "release", "agent/v2")
        done = world.push("origin", "HEAD:agent/a", "HEAD:agent/b", "agent/v2")
    assert done.returncode == 0, text(done)
    assert {world.refs()[f"refs/heads/agent/{name}"] for name in "ab"} == {new}
    assert "refs/tags/agent/v2" in world.refs()
    assert len(world.person.asked) == 1


def test_a_large_push_comes_in_chunks(world: World) -> None:
    world.person.decision = "approved"
    with world.gate():
        new = world.commit({"data.bin": os.urandom(3 << 20)})
        done = world.push("origin", "HEAD:agent/data")
    assert done.returncode == 0, text(done)
    assert world.refs()["refs/heads/agent/data"] == new


def test_a_push_from_a_shallow_clone_arrives(world: World) -> None:
    world.person.decision = "approved"
    with world.gate(clone=False) as url:
        world.git("clone", "-q", "--depth=1", f"{url}/origin.git", "clone", cwd=world.root)
        new = world.commit({"a": "1"})
        done = world.push("origin", "HEAD:agent/a")
    assert done.returncode == 0, text(done)
    assert world.refs()["refs/heads/agent/a"] == new
