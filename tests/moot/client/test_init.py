"""The options of `moot init`, and the files that it writes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moot.client.auth import store_credential
from moot.config import find_config, get_actor_key, read_config, require_config
from moot.scaffold import InitOptions, init, provision, set_focus
from moot.scaffold.files_of_project import GITIGNORE_ENTRIES, Bundle, install, update_gitignore
from moot.scaffold.role_keys import infer_template, require_distinct, role_key, visible_name
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest, NotFound
from tests.moot.client.people import Person


def test_the_project_gets_its_configuration_and_instructions(person: Person) -> None:
    person.init(template="loop-4")

    config = read_config(person.project / "moot.toml")
    assert (config.api_url, config.space_id, config.template) == (person.api_url, person.user.space_id, "loop-4")
    assert all(agent.startup_prompt.startswith(f"You are {agent.display_name}") for agent in config.agents.values())
    assert "shop" in (person.project / "CLAUDE.md").read_text()
    report = (person.project / ".moot" / "init-report.md").read_text()
    assert "Mechanical setup (done)" in report and "`CLAUDE.md`" in report and "Product, Spec" in report


def test_agents_that_a_template_has_and_the_server_has_not_are_made(person: Person) -> None:
    person.init(template="loop-3")

    assert list(person.actors().actors) == ["leader", "implementation", "qa"]
    assert person.actors().actors["qa"].display_name == "Verifier"
    agents = person.agents()
    assert {agents[name].focus_space_id for name in ("Leader", "Verifier")} == {person.user.space_id}
    assert agents["Product"].api_key_prefix is None, "an agent of another team is left alone"


def test_the_template_is_inferred_from_the_agents(people: Callable[..., Person]) -> None:
    for template in ("loop-3", "loop-4-parallel", "loop-6"):
        assert people(template).init().template == template


def test_roles_names_the_only_roles_that_are_wanted(person: Person) -> None:
    with pytest.raises(InvalidRequest, match="has no role 'pruduct'") as raised:
        person.init(template="loop-4", roles=("pruduct",))
    assert raised.value.hint == "did you mean 'product'?"
    assert not (person.project / ".moot").exists() and not (person.project / ".gitignore").exists()

    person.init(template="loop-4", roles=("spec", "qa"))

    assert require_config().roles == ["spec", "qa"] == list(person.actors().actors)
    assert person.agents()["Product"].api_key_prefix is None


def test_a_second_project_gets_a_team_of_its_own_by_fresh(people: Callable[..., Person]) -> None:
    person = people()
    person.init()
    first = person.actors()
    person.project = person.project.with_name("second")
    (person.project / ".git").mkdir(parents=True)

    with pytest.raises(NotFound, match="no keyless agents") as nothing:
        person.init()
    assert "--fresh" in nothing.value.hint
    with pytest.raises(Conflict, match="Product, Spec, Implementation, QA have keys already"):
        person.init(template="loop-4")
    assert not (person.project / ".moot").exists()
    person.init(fresh=True, template="loop-3")

    second = person.actors()
    assert second.space_name == "second" and second.space_id != first.space_id
    assert list(second.actors) == ["leader", "implementation", "qa"]
    with person.client() as space:
        assert {one.display_name for one in space.my_agents() if one.focus_space_id == second.space_id} == {
            "Leader",
            "Implementation",
            "Verifier",
        }
    assert require_config(person.project).space_id == second.space_id


@pytest.mark.usefixtures("person")
def test_a_folder_whose_name_the_server_would_refuse_gets_a_space(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"a\nb\xff")
    (folder / ".git").mkdir(parents=True)
    found = init(InitOptions(fresh=True, template="loop-3"), folder)
    assert found is not None and found.space_name == "a?b?"


def test_fresh_takes_any_roles(person: Person) -> None:
    person.init(fresh=True, roles=("writer", "code_reviewer"))

    assert {role: one.display_name for role, one in person.actors().actors.items()} == {
        "writer": "Writer",
        "code_reviewer": "Code Reviewer",
    }


def test_api_url_chooses_the_login_and_no_token_goes_elsewhere(person: Person) -> None:
    store_credential("mootup_pat_of_another", "http://127.0.0.1:1", "usr_1")
    store_credential(person.user.token, person.api_url, person.user.actor_id, "local")
    with pytest.raises(HostNotReady, match="cannot reach"):
        person.init()
    with pytest.raises(HostNotReady, match=r"not logged in on http://127\.0\.0\.1:2") as raised:
        person.init(api_url="http://127.0.0.1:2")
    assert "moot login --api-url http://127.0.0.1:2" in raised.value.hint

    assert person.init(api_url=f"{person.api_url}/").api_url == person.api_url


@pytest.mark.usefixtures("home")
def test_a_project_in_a_folder_of_its_repository_is_in_one(project: Path) -> None:
    folder = project / "sub"
    folder.mkdir()
    said: list[str] = []
    with pytest.raises(HostNotReady, match="not logged in"):
        init(InitOptions(say=said.append), folder)
    assert said == []


def test_worktrees_are_ignored_at_the_top_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "sub"
    folder.mkdir()
    assert update_gitignore(folder) == 4
    assert ".worktrees/" not in (folder / ".gitignore").read_text()
    assert (tmp_path / ".gitignore").read_text() == "# moot\n.worktrees/\n"
    assert update_gitignore(folder) == 0


@pytest.mark.usefixtures("home")
def test_without_a_login_or_a_repository_the_cause_is_said(project: Path) -> None:
    (project / ".git").rmdir()
    said: list[str] = []
    with pytest.raises(HostNotReady, match="not logged in"):
        init(InitOptions(say=said.append))
    assert "doesn't look like a git repository" in said[0]
    assert list(project.iterdir()) == []
    with pytest.raises(NotFound, match=r"actors\.json not found"):
        init(InitOptions(update_suggestions=True))


def test_what_the_project_has_is_kept_and_ours_is_put_beside_it(person: Person) -> None:
    (person.project / "CLAUDE.md").write_text("mine\n")
    (person.project / "moot.toml").write_text('[convo]\napi_url = "http://127.0.0.1:9"\n[agents.writer]\n')
    result = person.init()

    assert (person.project / "CLAUDE.md").read_text() == "mine\n"
    assert "shop" in (person.project / ".moot" / "suggested-CLAUDE.md").read_text()
    assert [one.outcome for one in result.files if one.kind == "instructions"] == ["staged"]
    assert result.moot_toml == "kept"
    assert any("http://127.0.0.1:9" in one for one in result.warnings)
    assert any("roles without a key: writer" in one for one in result.warnings)
    report = (person.project / ".moot" / "init-report.md").read_text()
    assert "need your judgement" in report and "suggested-CLAUDE.md" in report

    (person.project / "CLAUDE.md").unlink()
    person.init(update_suggestions=True)
    assert "shop" in (person.project / "CLAUDE.md").read_text()
    assert "Gave keys" not in (person.project / ".moot" / "init-report.md").read_text()

    (person.project / "CLAUDE.md").write_text("mine again\n")
    keys = person.actors()
    person.init(adopt_fresh_install=True)
    assert "shop" in (person.project / "CLAUDE.md").read_text()
    assert person.actors() == keys, "agents that have keys here keep them"


def _bundle(**content: bytes) -> Bundle:
    files = {f".claude/skills/x/{name}": text for name, text in content.items()}
    return Bundle("skill", "x", files, ".claude/skills/x", ".moot/suggested-skills/x", whole=True)


def test_a_folder_with_files_of_the_user_is_a_conflict_and_an_equal_one_is_not(tmp_path: Path) -> None:
    bundle = _bundle(one=b"1", two=b"2")
    assert install(tmp_path, bundle, overwrite=False).outcome == "installed"
    assert install(tmp_path, bundle, overwrite=False).outcome == "unchanged"
    (tmp_path / ".claude/skills/x/two").unlink()
    assert install(tmp_path, bundle, overwrite=False).outcome == "installed"

    (tmp_path / ".claude/skills/x/mine").write_text("3")
    assert install(tmp_path, bundle, overwrite=False).outcome == "staged"
    assert (tmp_path / ".moot/suggested-skills/x/one").read_bytes() == b"1"
    assert install(tmp_path, bundle, overwrite=True).outcome == "installed"
    assert (tmp_path / ".claude/skills/x/mine").read_text() == "3"


@pytest.mark.parametrize("link", [".claude", ".claude/skills", ".claude/skills/x"])
def test_a_link_out_of_the_project_is_not_written_through(link: str, tmp_path: Path) -> None:
    outside, project = tmp_path / "outside", tmp_path / "project"
    outside.mkdir()
    (project / link).parent.mkdir(parents=True)
    (project / link).symlink_to(outside)

    if link == ".claude/skills/x":
        assert install(project, _bundle(one=b"1"), overwrite=False).outcome == "staged"
    with pytest.raises(Conflict, match="is not a folder of the project"):
        install(project, _bundle(one=b"1"), overwrite=True)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "added"),
    [
        ("", 4),
        ("# see .moot/ and .worktrees/ and .agents.json.bak", 4),
        ("x.moot/\n", 4),
        (".moot\n/.agents.json\n  .env.local  \n.worktrees/", 0),
        ("!.moot/\n", 4),
        ("caf\udce9\n.moot/", 3),
    ],
)
def test_gitignore_is_compared_by_line(old: str, added: int, tmp_path: Path) -> None:
    path = tmp_path / ".gitignore"
    path.write_bytes(old.encode("utf-8", "surrogateescape"))

    assert update_gitignore(tmp_path) == added
    content = path.read_bytes().decode("utf-8", "surrogateescape")
    assert content.startswith(old)
    if added == 4:
        assert set(GITIGNORE_ENTRIES) <= set(content.splitlines())
    assert update_gitignore(tmp_path) == 0 and path.read_bytes().decode("utf-8", "surrogateescape") == content


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("QA", "qa"),
        ("Implementation A", "implementation_a"),
        ("Ünïcode", "unicode"),
        ('a.b"]\n[x', "a_b_x"),
        ("日本", "agent"),
        ("--x--", "x"),
        ("../../etc", "etc"),
        ("$(id)", "id"),
        ("n" * 500, "n" * 64),
    ],
)
def test_a_role_is_a_valid_key_for_any_name(name: str, key: str) -> None:
    assert role_key(name) == key


def test_a_name_that_cannot_be_shown_is_made_visible() -> None:
    assert visible_name("a\u202eb\x1b[2J\nc") == "a?b?[2J?c"
    assert visible_name("\u200b") == "?" and len(visible_name("n" * 600)) == 500 and visible_name(" ") == "agent"


def test_two_agents_with_the_same_role_are_refused() -> None:
    with pytest.raises(Conflict, match=r"'Q A' \(agt_1\) and 'q\.a' \(agt_2\) would both be the role 'q_a'"):
        require_distinct({"agt_1": "Q A", "agt_2": "q.a"})
    assert infer_template(["Somebody"]) is None


def test_agents_with_any_name_get_a_configuration_that_is_valid(people: Callable[..., Person]) -> None:
    person = people("loop-3")
    names = {"Leader": 'X "]\\ [y', "Implementation": "日本語", "Verifier": "a.b: 'c'"}
    with person.client() as space:
        for one in space.my_agents():
            space.call("PATCH", f"/api/actors/{one.actor_id}", {"display_name": names[one.display_name]})
    person.init()

    assert {role: one.display_name for role, one in person.actors().actors.items()} == {
        "x_y": 'X "]\\ [y',
        "agent": "日本語",
        "a_b_c": "a.b: 'c'",
    }
    assert require_config(person.project).roles == ["x_y", "agent", "a_b_c"]


def test_provision_makes_the_agents_of_new_roles_alone(person: Person) -> None:
    person.init()
    old = person.actors()
    with (person.project / "moot.toml").open("a") as file:
        file.write('\n[agents.tester]\ndisplay_name = "Tester"\nprofile = "tests"\n')
    made = provision(require_config(), say=person.said.append)

    new = person.actors()
    assert list(made) == ["tester"] and new.actors["tester"].actor_id == made["tester"].actor_id
    assert {role: one for role, one in new.actors.items() if role != "tester"} == old.actors
    tester = person.agents()["Tester"]
    assert (tester.focus_space_id, tester.agent_profile) == (person.user.space_id, "tests")
    assert provision(require_config(), say=person.said.append) == {}


def test_focus_moves_the_agents_on_the_server_and_in_the_files(person: Person) -> None:
    person.init()
    with person.client() as space:
        space.create_space("other-room")
    with pytest.raises(NotFound):
        set_focus(require_config(), "no-room")
    assert require_config().space_id == person.user.space_id

    moved = set_focus(require_config(), "other-room")
    assert {role: one.actor_id for role, one in moved.items()} == {
        role: one.actor_id for role, one in person.actors().actors.items()
    }

    assert {one.focus_space_id for one in person.agents().values()} == {"other-room"}
    assert require_config().space_id == person.actors().space_id == "other-room"


def test_a_worktree_has_the_keys_and_the_configuration_of_the_project(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    person.init()
    (person.project / ".git").rmdir()
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_COMMITTER_NAME": "a"}
    env |= {"GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_EMAIL": "a@b"}
    git: Any = SimpleNamespace(run=lambda *words: subprocess.run(["git", *words], check=True, env=env, timeout=60))
    for words in (("init", "-q"), ("add", "moot.toml", ".gitignore"), ("commit", "-qm", "x")):
        git.run(*words)
    git.run("worktree", "add", "-q", ".worktrees/qa")
    inner = person.project / ".worktrees" / "qa" / "deep"
    inner.mkdir()
    monkeypatch.chdir(inner)
    (inner.parent / "moot.toml").write_text("[convo]\n")  # an old one, committed on the branch

    assert get_actor_key("qa") == get_actor_key("QA") == person.actors().actors["qa"].api_key
    config = find_config()
    assert config is not None and config.root == person.project.resolve()
    with pytest.raises(Conflict, match="is a linked worktree"):
        init(InitOptions(force=True), inner.parent)
