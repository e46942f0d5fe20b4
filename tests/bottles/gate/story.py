"""A bottle whose git has three remotes of this host: one story for all backends."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from claude_bottle import state
from claude_bottle.audit import user_journal
from claude_bottle.backend.interface import Bottle, Outcome
from claude_bottle.bottle_info import bottle_of
from claude_bottle.bottles import Bottles
from claude_bottle.manifest import load
from tests.bottles.gate.upstreams import WORD, https_upstream, ssh_upstream
from tests.bottles.gate.world import make_world
from tests.waiting import until

CANARY = "canary-of-the-project"


def the_story_of_a_push(root: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launch a bottle; fetch, commit and push in it; approve; find the commits in the upstream."""
    world = make_world(root)
    world.git("clone", "-q", str(world.upstream), "project", cwd=root)
    project = root / "project"
    world.git("remote", "add", "elsewhere", f"https://me:{CANARY}@elsewhere.example/x", cwd=project)
    monkeypatch.setenv("HOME", str(root / "home"))
    with ExitStack() as stack:
        web, shell = (stack.enter_context(serve(world)) for serve in (https_upstream, ssh_upstream))
        always = [{"ref": "refs/heads/agent/*", "approve": "always"}]
        remotes = {
            "origin": {"url": str(world.upstream), "push": [{"ref": "refs/heads/agent/*"}]},
            "web": {"url": web.url, "push": always},
            "shell": {"url": shell.url, "push": always},
        }
        bottle = {"environment": "debian:12-agent", "git": {"remotes": remotes}}
        agents = {"tester": {"bottle": "dev", "harness": ["sleep", "900"]}}
        (root / "bottles.json").write_text(json.dumps({"bottles": {"dev": bottle}, "agents": agents}))
        bottles = Bottles(folder=project, manifest=load(file=root / "bottles.json"))
        slug = bottles.run("tester", backend=backend, copy_cwd=True)["slug"]
        stack.callback(bottles.stop, slug)
        guest = bottle_of(state.read(slug))

        assert _git(guest, "remote").stdout.split() == [b"origin", b"shell", b"web"]
        assert _sh(guest, f"grep -rqa {CANARY} . ~ || echo none").stdout == b"none\n"
        for name in remotes:
            fetched = _git(guest, "fetch", name)
            assert fetched.exit_code == 0, fetched
        assert _git(guest, "rev-parse", "origin/main").stdout.decode().strip() == world.base

        assert _sh(guest, "echo by-the-agent >>README && git commit -qam 'the change'").exit_code == 0
        new = _git(guest, "rev-parse", "HEAD").stdout.decode().strip()
        for words in (["HEAD:main"], ["+HEAD:main"], ["--delete", "agent/x"], ["--mirror"]):
            assert _git(guest, "push", "origin", *words).exit_code != 0, words
        assert _git(guest, "ls-remote", "https://elsewhere.example/x").exit_code != 0

        done: list[Outcome] = []
        pusher = threading.Thread(target=lambda: done.append(_git(guest, "push", "origin", "HEAD:agent/asked")))
        pusher.start()
        (asked,) = until("the request", lambda: bottles.pending()["requests"], deadline_seconds=60)
        assert "+by-the-agent" in bottles.held_push(asked["reference"])["diff"]
        assert "refs/heads/agent/asked" not in world.refs()
        bottles.approve(asked["reference"], who="person tester")
        pusher.join(120)
        assert done and done[0].exit_code == 0, done
        for name in ("web", "shell"):
            pushed = _git(guest, "push", name, f"HEAD:agent/{name}")
            assert pushed.exit_code == 0, pushed

        refs = world.refs()
        assert {refs.get(f"refs/heads/agent/{name}") for name in ("asked", "web", "shell")} == {new}
        assert refs["refs/heads/main"] == world.base
        assert _sh(guest, f"grep -rqa {WORD} . ~ /tmp || env | grep {WORD} || echo none").stdout == b"none\n"
        decisions = [(one.decision, one.who) for one in user_journal().entries(kind="push")]
        assert ("allowed", "person tester") in decisions
        assert ("refused", "policy") in decisions


def _git(guest: Bottle, *words: str) -> Outcome:
    return guest.execute(["git", *words], deadline_seconds=180)


def _sh(guest: Bottle, line: str) -> Outcome:
    return guest.execute(["/bin/sh", "-c", line], deadline_seconds=180)
