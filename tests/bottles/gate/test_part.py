"""The gate in a guard: requests in the database, decided by the commands of a person."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.gate.part import part
from claude_bottle.gate.remotes import GATE_HOST
from claude_bottle.guard.approvals import Approvals
from claude_bottle.guard.bottle_journal import BottleJournal
from claude_bottle.guard.database import guard_database
from claude_bottle.guard.journaling import recording
from claude_bottle.guard.part import Guarded
from claude_bottle.guard.presence import hold_presence
from claude_bottle.guard.requests import Asker, Requests
from claude_bottle.guard.settings import GuardSettings, guard_dir
from claude_bottle.manifest import Manifest
from pyro_mcp.errors import Conflict, NotFound
from pyro_mcp.host.files import private_directory
from tests.bottles.gate.world import World, listening, text
from tests.waiting import until

SLUG = "agent-1234ab"


@pytest.fixture
def guarded(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    monkeypatch.setenv("XDG_STATE_HOME", str(world.root / "state"))
    remotes = {"origin": {"url": str(world.upstream), "push": [{"ref": "refs/heads/agent/*"}]}}
    manifest = Manifest.from_json_obj({"bottles": {"dev": {"git": {"remotes": remotes}}}})
    settings = GuardSettings(
        guard="g1",
        slug=SLUG,
        agent="agent",
        bottle="dev",
        backend="pyro",
        rules={},
        config=manifest.bottle("dev").model_dump(mode="json", exclude={"env"}),
        manifest_files=(),
    )
    folder = private_directory(guard_dir(SLUG))
    settings.write(folder)
    hold_presence(folder, settings.guard)
    asker = Asker("g1", SLUG, "dev", "agent", settings.policy(), 600.0, 600.0)
    journal = BottleJournal(user_journal(), settings)
    with Requests(guard_database(), recording()) as requests:
        yield Guarded(settings, folder, guard_database(), journal, Approvals(requests, asker, settings.policy))


def test_a_person_sees_the_diff_of_a_held_push_and_approves_exactly_that(world: World, guarded: Guarded) -> None:
    gate = part(guarded)
    assert gate is not None
    assert gate.names == (GATE_HOST,)
    with listening(gate) as port:
        world.git("clone", "-q", f"http://127.0.0.1:{port}/origin.git", "clone", cwd=world.root)
        new = world.commit({"src/a.py": "print('seen')\n"}, "a change to see")
        pushed: list[subprocess.CompletedProcess[bytes]] = []
        pusher = threading.Thread(target=lambda: pushed.append(world.push("origin", "HEAD:agent/x")))
        pusher.start()
        (asked,) = until("the request", lambda: Bottles().pending()["requests"])
        assert asked["kind"] == "push"
        assert new in asked["allows"]
        shown = Bottles().held_push(asked["reference"])
        assert "a change to see" in shown["log"]
        assert "+print('seen')" in shown["diff"]
        assert "refs/heads/agent/x" not in world.refs()
        Bottles().approve(asked["reference"], who="person tester")
        guarded.approvals.refresh(lambda _: None)
        pusher.join(60)
    assert pushed[0].returncode == 0, text(pushed[0])
    assert world.refs()["refs/heads/agent/x"] == new
    decided = [(one.decision, one.who) for one in user_journal().entries(kind="push")]
    assert ("held", "policy") in decided
    assert ("allowed", "person tester") in decided
    with pytest.raises(NotFound):
        Bottles().held_push(asked["reference"])
    with pytest.raises(Conflict):
        Bottles().approve(asked["reference"])


def test_a_bottle_without_remotes_has_no_gate(guarded: Guarded, tmp_path: Path) -> None:
    settings = GuardSettings(**{**guarded.settings.__dict__, "config": {"git": {"remotes": {}}}})
    assert part(Guarded(settings, tmp_path, tmp_path, guarded.journal, guarded.approvals)) is None
