"""The keys of agents: none is lost, whatever is killed, and each run continues what the one before began."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from moot.client.space_client import SpaceClient
from moot.runtimes import record_runtime
from moot.runtimes.local import LocalRuntime
from moot.scaffold import InitOptions, init
from moot.scaffold.journal import journal_path, read_journal
from pyro_mcp.errors import Busy, Conflict, InvalidRequest, NotFound, PyroError
from tests.moot.client.people import Person, in_child, kill_at_rename
from tests.moot.server.running import Client

_LOOP_4 = ["product", "spec", "implementation", "qa"]
_TEAM: dict[str, Any] = {"template": "loop-6", "roles": ("product", "librarian")}
"""One agent that is there and gets a key, and one that is made."""
_MOST_STEPS = 100


def test_adoption_gives_each_agent_a_key_that_only_this_user_can_read(person: Person) -> None:
    result = person.init()

    actors = person.actors()
    assert list(actors.actors) == _LOOP_4 == list(result.agents)
    assert (actors.space_id, actors.space_name, actors.api_url) == (person.user.space_id, "Home", person.api_url)
    path = person.project / ".moot" / "actors.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not journal_path(person.project).exists()


def test_init_killed_before_any_write_is_completed_by_the_next_run(people: Callable[..., Person]) -> None:
    """The first run is killed before its nth rename, for every n; so each state of the disk is met once."""
    for number in range(1, _MOST_STEPS):
        person = people()

        def first_run(person: Person = person, number: int = number) -> None:
            kill_at_rename(number)
            person.init(**_TEAM)

        killed = in_child(first_run)
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
        before = read_journal(person.project)
        held = {one.actor_id: one.api_key for one in before.members if one.api_key} if before else {}
        person.init(**_TEAM)

        actors = person.actors()
        assert list(actors.actors) == ["product", "librarian"]
        assert len(person.agents()) == 5
        keys = {one.actor_id: one.api_key for one in actors.actors.values()}
        assert held.items() <= keys.items(), "a key that was on the disk was kept"
        assert not journal_path(person.project).exists()
        assert (person.project / "moot.toml").is_file() and (person.project / "CLAUDE.md").is_file()
    else:
        raise AssertionError("the run never ended")
    assert number > 5, "each key has a write of its own"


@pytest.mark.parametrize("answered", [False, True], ids=["before the call", "after the call, without its answer"])
def test_init_killed_at_any_call_is_completed_by_the_next_run(
    people: Callable[..., Person], monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    call = SpaceClient.call
    for number in range(1, _MOST_STEPS):
        person = people()
        left = [number]

        def dying(self: SpaceClient, *words: object, left: list[int] = left, **more: object) -> object:
            left[0] -= 1
            answer = call(self, *words, **more) if left[0] or answered else None  # type: ignore[arg-type]
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        def first_run(person: Person = person, dying: object = dying) -> None:
            monkeypatch.setattr(SpaceClient, "call", dying)
            person.init(**_TEAM)

        if in_child(first_run) == 0:
            break
        person.init(**_TEAM)

        assert (len(person.actors().actors), len(person.agents())) == (2, 5)
    else:
        raise AssertionError("the run never ended")
    assert number > 5, "each key has a call of its own"


def test_a_failed_rotation_keeps_the_keys_before_it(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate, left = SpaceClient.rotate_key, [3]

    def failing(self: SpaceClient, actor_id: str, *, force: bool = False) -> object:
        left[0] -= 1
        if not left[0]:
            raise PyroError("the line broke")
        return rotate(self, actor_id, force=force)

    with monkeypatch.context() as patched:
        patched.setattr(SpaceClient, "rotate_key", failing)
        with pytest.raises(PyroError, match="rotate-key failed for Implementation") as raised:
            person.init()
    assert "run the same command again" in raised.value.hint
    journal = read_journal(person.project)
    assert journal is not None
    kept = [one.api_key for one in journal.members if one.api_key]
    assert len(kept) == 2 and not (person.project / ".moot" / "actors.json").exists()

    person.init()

    assert [one.api_key for one in person.actors().actors.values()][:2] == kept
    assert any("Continuing an interrupted run: 2 of 4" in line for line in person.said)


def test_an_interrupted_run_is_not_mixed_with_another_team(person: Person) -> None:
    def first_run() -> None:
        kill_at_rename(4)
        person.init(template="loop-4")

    assert in_child(first_run) == -signal.SIGKILL

    with pytest.raises(Conflict, match="an interrupted 'moot init' for the team loop-4"):
        person.init(template="loop-3")
    with pytest.raises(Conflict, match="an interrupted 'moot init'"):
        person.init(fresh=True)
    person.init(template="mootup/loop-4")
    assert list(person.actors().actors) == _LOOP_4


def test_two_runs_at_once_do_not_share_a_project(person: Person) -> None:
    with pytest.raises(Busy):
        person.init(force=True, agree=lambda _question: person.init(force=True) is None)
    assert not (person.project / ".moot" / "actors.json").exists()


def test_a_second_run_is_refused_and_force_makes_new_keys(person: Person) -> None:
    person.init()
    old = person.actors()
    with pytest.raises(Conflict, match=r"\.moot/actors\.json already exists") as raised:
        person.init()
    assert "--force" in raised.value.hint and "--update-suggestions" in raised.value.hint
    assert person.actors() == old

    assert init(InitOptions(force=True, agree=lambda _question: False), person.project) is None
    assert person.actors() == old

    person.init(force=True)
    new = person.actors()
    assert {role: one.actor_id for role, one in new.actors.items()} == {
        role: one.actor_id for role, one in old.actors.items()
    }
    assert all(new.actors[role].api_key != one.api_key for role, one in old.actors.items())


def test_force_is_refused_while_an_agent_runs_with_its_key(person: Person) -> None:
    person.init()
    old = person.actors()
    record_runtime(person.project, "local")
    tmux = LocalRuntime(person.project).tmux
    tmux.start("moot-qa", ["sleep", "1000"], folder=str(person.project), window=0, colour=None)
    try:
        with pytest.raises(Conflict, match="keys that would become invalid: qa") as raised:
            person.init(force=True)
        assert "moot down" in raised.value.hint and person.actors() == old
    finally:
        tmux.kill("moot-qa")
    person.init(force=True)
    assert person.actors() != old


def test_a_connected_agent_loses_its_key_only_by_force(person: Person) -> None:
    person.init()
    key = person.actors().actors["qa"].api_key
    client = Client(person.server.port, key)
    with client.live(person.user.space_id):
        person.init(force=True)
    assert person.actors().actors["qa"].api_key != key


def test_agents_that_the_new_team_leaves_out_keep_their_keys_in_a_second_file(person: Person) -> None:
    person.init()
    person.init(force=True, template="loop-4", roles=("product", "qa"))

    assert list(person.actors().actors) == ["product", "qa"]
    kept = list((person.project / ".moot").glob("actors-*.json"))
    assert len(kept) == 1 and stat.S_IMODE(kept[0].stat().st_mode) == 0o600


def test_a_journal_that_came_with_a_repository_is_refused(person: Person) -> None:
    journal_path(person.project).parent.mkdir(mode=0o700)
    journal_path(person.project).write_text("{}")
    journal_path(person.project).chmod(0o644)

    with pytest.raises(InvalidRequest, match="was not written by 'moot init'"):
        person.init()
    journal_path(person.project).chmod(0o600)
    with pytest.raises(InvalidRequest, match=r"adoption\.json is damaged"):
        person.init()


def test_a_folder_of_moot_that_came_with_a_repository_is_refused(person: Person) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=person.project, check=True, timeout=60)
    mailbox = person.project / ".moot/run/qa/mailbox.db"
    mailbox.parent.mkdir(parents=True)
    mailbox.write_text("a message with a forged sender")
    subprocess.run(["git", "add", "."], cwd=person.project, check=True, timeout=60)

    with pytest.raises(Conflict, match=r"git tracks \.moot/run/qa/mailbox\.db"):
        person.init(template="loop-4")
    assert not (person.project / ".moot/adoption.json").exists()


def test_agents_that_the_server_does_not_know_any_more_are_said(person: Person) -> None:
    def first_run() -> None:
        kill_at_rename(4)
        person.init()

    assert in_child(first_run) == -signal.SIGKILL
    with person.client() as space:
        for one in space.my_agents():
            space.call("DELETE", f"/api/actors/{one.actor_id}")

    with pytest.raises(NotFound, match="rotate-key failed for") as raised:
        person.init()
    assert "remove .moot/adoption.json" in raised.value.hint
