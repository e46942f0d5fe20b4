"""Upstreams over HTTPS and SSH, with the credentials of this host, which the guest never sees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from claude_bottle.gate.remotes import PushRule
from tests.bottles.gate.upstreams import WORD, Served, https_upstream, ssh_upstream
from tests.bottles.gate.world import AGENT, World, text

Serve = Callable[[World], AbstractContextManager[Served]]


@pytest.mark.parametrize("serve", [https_upstream, ssh_upstream])
def test_a_clone_and_an_approved_push_reach_the_upstream(
    world: World, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(world.root / "home"))
    world.person.decision = "approved"
    with serve(world) as served, world.gate(world.remote(url=served.url)):
        new = world.commit({"a": "b"})
        done = world.push("origin", "HEAD:agent/x")
        assert done.returncode == 0, text(done)
        world.git("fetch", "-q")
        assert world.out("rev-parse", "origin/agent/x") == new
        moved = world.commit({"a": "c"})
        assert world.push("origin", "HEAD:agent/x").returncode == 0
    assert world.refs()["refs/heads/agent/x"] == moved


def test_the_password_is_nowhere_in_the_guest_and_in_the_state_of_the_gate(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(world.root / "home"))
    world.person.decision = "approved"
    with https_upstream(world) as served, world.gate(world.remote(url=served.url)):
        world.commit({"a": "b"})
        assert world.push("origin", "HEAD:agent/x").returncode == 0
        assert served.refused, "the server must have asked for the password"
    for folder in (world.clone, world.state):
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if WORD.encode() in path.read_bytes()]


def test_without_the_credential_the_guest_reads_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(world.root / "home"))
    with https_upstream(world) as served:
        (world.root / "home/credentials").write_text("")
        with world.gate(world.remote(url=served.url), clone=False) as url:
            done = world.git("ls-remote", f"{url}/origin.git", cwd=world.root, check=False)
    assert done.returncode != 0
    assert "the upstream of origin failed" in text(done)
    assert [one["decision"] for one in world.journal] == ["refused"]


def test_an_upstream_that_is_not_there_is_a_clear_error(world: World) -> None:
    with world.gate(world.remote(url=world.root / "nowhere.git"), clone=False) as url:
        done = world.git("ls-remote", f"{url}/origin.git", cwd=world.root, check=False)
    assert "the upstream of origin failed" in text(done)
    assert "nowhere.git" in text(done)


def test_an_upstream_that_refuses_a_push_says_why_and_the_push_stays_possible(world: World) -> None:
    hook = world.upstream / "hooks/update"
    world.person.decision = "approved"
    with world.gate():
        world.commit({"a": "b"})
        world.upstream.joinpath("refs/heads/agent").write_text("")
        done = world.push("origin", "HEAD:agent/x")
        assert done.returncode != 0
        assert "the upstream refused the push" in text(done) or "failed" in text(done)
        world.upstream.joinpath("refs/heads/agent").unlink()
        done = world.push("origin", "HEAD:agent/x")
        assert done.returncode == 0, text(done)
    assert not hook.exists()


def test_a_branch_that_is_checked_out_in_a_local_upstream_is_not_pushed(world: World) -> None:
    world.person.decision = "approved"
    seed = world.root / "seed"
    world.git("config", "receive.denyCurrentBranch", "updateInstead", cwd=seed)
    with world.gate(world.remote(PushRule("refs/heads/*"), AGENT, url=seed)):
        before = (seed / "README").read_text()
        world.commit({"README": "changed by the agent\n"})
        done = world.push("origin", "HEAD:main")
        assert done.returncode != 0
        assert "checked out" in text(done)
        assert (seed / "README").read_text() == before
        assert world.push("origin", "HEAD:agent/x").returncode == 0
    assert world.out("rev-parse", "agent/x", cwd=seed)
