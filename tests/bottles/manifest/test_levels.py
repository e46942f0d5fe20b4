"""The user's manifest and the project's as one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bottle.errors import ManifestError
from claude_bottle.manifest import load
from claude_bottle.manifest.levels import project_root, user_folder
from pyro_mcp.errors import InvalidRequest, NotFound

DEMO = {"demo": {"bottle": "dev"}}


def write(folder: Path, **keys: object) -> str:
    path = folder / "bottles.json"
    path.write_text(json.dumps(keys))
    return str(path)


def test_a_key_of_the_project_replaces_that_of_the_user_and_all_others_stay(project: Path, own: Path) -> None:
    user = write(own, bottles={"dev": {"egress": ["a.example"], "env": {"A": "1", "B": "1"}}}, agents=DEMO)
    mine = write(project, bottles={"dev": {"egress": ["b.example"], "env": {"B": "2"}}, "other": {}})

    loaded = load(project)

    dev = loaded.manifest.bottle_of("demo")
    assert [rule.host for rule in dev.egress] == ["b.example"]
    assert dev.env == {"A": "1", "B": "2"}
    assert loaded.files == (Path(user), Path(mine))
    assert loaded.origins == {
        "bottles.dev.egress": mine,
        "bottles.dev.env.A": user,
        "bottles.dev.env.B": mine,
        "agents.demo.bottle": user,
        "bottles.other": mine,
    }


@pytest.mark.parametrize(
    ("users", "projects", "shared"),
    [
        ({"day": {"usd": 5}}, {"usd": 1}, True),
        ({"bottle": {"usd": 5}}, {}, True),
        ({"bottle": {"usd": 5}}, {"day": {"usd": 1}}, True),
        ({"day": {"usd": 5}}, {"day": {"usd": 9}}, False),
        ({"usd": 5}, {"day": {"usd": 9}}, False),
    ],
)
def test_all_projects_of_a_user_share_the_budget_of_a_day_that_the_user_sets(
    project: Path, own: Path, users: dict[str, object], projects: dict[str, object], shared: bool
) -> None:
    user = write(own, bottles={"dev": {"budget": users}}, agents=DEMO)
    mine = write(project, bottles={"dev": {"env": {"A": "1"}, **({"budget": projects} if projects else {})}})

    assert load(project).budget_file("dev") == (user if shared else mine)


def test_the_source_and_the_hosts_of_a_secret_come_from_one_file(project: Path, own: Path) -> None:
    write(own, bottles={"dev": {"secrets": {"T": {"env": "GITHUB_TOKEN", "hosts": ["api.github.com"]}}}})
    mine = write(project, bottles={"dev": {"secrets": {"T": {"hosts": ["attacker.example"]}}}})

    with pytest.raises(ManifestError) as caught:
        load(project)

    assert [(one.path, one.file) for one in caught.value.problems] == [("bottles.dev.secrets.T", mine)]


def test_an_agent_of_the_project_runs_in_a_bottle_of_the_user(project: Path, own: Path) -> None:
    write(own, bottles={"dev": {"packages": ["git"]}})
    write(project, agents=DEMO)

    assert load(project).manifest.bottle_of("demo").packages == ("git",)


def test_a_key_that_one_file_needs_may_be_in_the_other(project: Path, own: Path) -> None:
    write(own, bottles={"dev": {}}, agents={"demo": {"prompt": "Be brief."}})
    write(project, agents=DEMO)

    assert load(project).manifest.agent("demo").prompt == "Be brief."


def test_a_problem_names_the_file_that_has_it(project: Path, own: Path) -> None:
    user = write(own, bottles={"dev": {"egres": []}})
    mine = write(project, bottles={"dev": {"egress": ["a.example", 1]}})

    with pytest.raises(ManifestError) as caught:
        load(project)

    assert [(one.path, one.file) for one in caught.value.problems] == [
        ("bottles.dev.egres", user),
        ("bottles.dev.egress[1]", mine),
    ]


def test_what_the_project_replaces_is_checked_too(project: Path, own: Path) -> None:
    user = write(own, bottles={"dev": {"egress": [7]}})
    write(project, bottles={"dev": {"egress": []}})

    with pytest.raises(ManifestError) as caught:
        load(project)
    assert caught.value.problems[0].file == user


def test_a_problem_of_both_together_names_the_file_of_its_key(project: Path, own: Path) -> None:
    write(own, bottles={"dev": {}}, agents=DEMO)
    mine = write(project, agents={"demo": {"bottle": "deb"}, "other": {"prompt": "x"}})

    with pytest.raises(ManifestError) as caught:
        load(project)
    assert [(one.path, one.message, one.file) for one in caught.value.problems] == [
        ("agents.other.bottle", "is missing", mine)
    ]

    mine = write(project, agents={"demo": {"bottle": "deb"}})
    with pytest.raises(ManifestError, match="there is no bottle 'deb'; did you mean 'dev'") as caught:
        load(project)
    assert [(one.path, one.file) for one in caught.value.problems] == [("agents.demo.bottle", mine)]


def test_a_value_is_not_merged_into_one_of_another_kind(project: Path, own: Path) -> None:
    user = write(own, bottles={"dev": []})
    write(project, bottles={"dev": {"env": {}}})

    with pytest.raises(ManifestError) as caught:
        load(project)
    assert [(one.path, one.file) for one in caught.value.problems] == [("bottles.dev", user)]


def test_the_projects_manifest_is_at_its_root(project: Path) -> None:
    (project / "src/deep").mkdir(parents=True)
    write(project, bottles={"dev": {}})

    assert list(load(project / "src/deep").manifest.bottles) == ["dev"]


def test_outside_of_a_project_no_folder_above_counts(tmp_path: Path) -> None:
    # Such as one of another user in /tmp.
    write(tmp_path, bottles={"dev": {}})
    (tmp_path / "work").mkdir()

    assert project_root(tmp_path / "work") == tmp_path / "work"
    with pytest.raises(NotFound, match="there is no manifest"):
        load(tmp_path / "work")


def test_in_the_users_own_folder_the_manifest_is_read_once(own: Path) -> None:
    path = write(own, bottles={"dev": {}})

    assert load(own).files == (Path(path),)
    assert list(load(own).levels) == ["user"]


def test_two_manifests_in_one_folder_are_refused(project: Path) -> None:
    write(project)
    (project / "bottles.toml").write_text("")

    with pytest.raises(InvalidRequest, match="has two manifests"):
        load(project)


def test_the_users_manifest_may_be_a_link(tmp_path: Path, project: Path, own: Path) -> None:
    (tmp_path / "dotfiles.json").write_text('{"bottles": {"dev": {}}}')
    (own / "bottles.json").symlink_to(tmp_path / "dotfiles.json")

    assert list(load(project).manifest.bottles) == ["dev"]


@pytest.mark.parametrize("config", ["", "relative"])
def test_without_a_folder_for_settings_it_is_below_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", config)
    monkeypatch.setenv("HOME", str(tmp_path))

    assert user_folder() == tmp_path / ".config/claude-bottle"


def test_the_key_for_editors_is_allowed(project: Path) -> None:
    path = project / "bottles.json"
    path.write_text('{"$schema": "./bottles.schema.json", "bottles": {"dev": {}}}')

    assert load(project).origins == {"bottles.dev": str(path)}
