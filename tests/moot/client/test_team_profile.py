"""Team templates: their files agree with each other, and everything made from them can be read back."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from moot.config import read_config
from moot.server.admin.templates import roles_of
from moot.team_profile import (
    RoleProfile,
    TeamProfile,
    builtin_profile,
    builtin_templates,
    generate_claude_md,
    generate_moot_toml,
    load_template,
    resolve_template,
)
from pyro_mcp.errors import InvalidRequest, NotFound
from tests.style.test_project_words import FOR_THE_USER

_TEMPLATES = ["loop-3", "loop-4", "loop-4-observer", "loop-4-parallel", "loop-4-split-leader", "loop-6"]
_MODELS = {
    **dict.fromkeys(("Product", "Spec", "Implementation", "Implementation A", "Implementation B"), "opus"),
    **dict.fromkeys(("Leader", "Lead", "QA", "Verifier", "Librarian"), "sonnet"),
}


def test_the_six_templates_are_there() -> None:
    assert builtin_templates() == _TEMPLATES


@pytest.mark.parametrize("name", _TEMPLATES)
def test_a_template_agrees_with_itself(name: str) -> None:
    profile = builtin_profile(name)

    assert profile.name == name
    assert len(profile.roles) >= 3 and len(profile.workflow.pipeline) >= 3
    assert {role.display_name: role.model for role in profile.roles} == {
        role.display_name: _MODELS[role.display_name] for role in profile.roles
    }
    assert all(role.startup_prompt and role.responsibilities and role.theme for role in profile.roles)
    assert profile.git.ownership["main_branch"] == profile.resources.owners["git"]


@pytest.mark.parametrize("name", _TEMPLATES)
def test_the_moot_toml_of_a_template_is_valid(name: str, tmp_path: Path) -> None:
    profile = builtin_profile(name)
    path = tmp_path / "moot.toml"
    path.write_text(generate_moot_toml(profile, "http://127.0.0.1:8000", "spc_1"))

    config = read_config(path)

    assert (config.template, config.space_id, config.api_url) == (name, "spc_1", "http://127.0.0.1:8000")
    assert [(one.role, one.display_name, one.model, one.theme, one.harness) for one in config.agents.values()] == [
        (one.name, one.display_name, one.model, one.theme, one.harness) for one in profile.roles
    ]
    assert all(
        agent.startup_prompt == role.startup_prompt
        for agent, role in zip(config.agents.values(), profile.roles, strict=True)
    )


def test_each_role_keeps_its_harness_in_the_file(tmp_path: Path) -> None:
    harnesses = {"spec": "codex", "qa": "claude-code", "ops": "codex"}
    profile = TeamProfile("mixed", roles=tuple(RoleProfile(name, name, kind) for name, kind in harnesses.items()))
    path = tmp_path / "moot.toml"
    path.write_text(generate_moot_toml(profile, "http://127.0.0.1:8000"))
    assert {role: agent.harness for role, agent in read_config(path).agents.items()} == harnesses


@pytest.mark.parametrize("name", _TEMPLATES)
def test_the_instructions_of_a_template_have_no_unfilled_placeholder(name: str) -> None:
    profile, folder = load_template(name)

    text = generate_claude_md(profile, folder, "Shop")

    assert set(re.findall(r"\{(\w+)\}", text)) <= {"slug", "role"}
    assert FOR_THE_USER in text


def test_the_server_has_the_roles_of_the_same_files() -> None:
    for name in _TEMPLATES:
        expected = {role.name: role.display_name for role in builtin_profile(name).roles}
        assert roles_of(name) == expected == roles_of(f"mootup/{name}")


def test_the_server_never_reads_a_template_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text('[[roles]]\nname = "one"\n')

    assert resolve_template(str(tmp_path)) == tmp_path
    with pytest.raises(InvalidRequest):
        roles_of(str(tmp_path))


def test_an_unknown_template_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Available: loop-3, loop-4, loop-4-observer") as raised:
        resolve_template("loop-5")
    assert "loop-" in raised.value.hint
    with pytest.raises(NotFound, match=r"has no team\.toml"):
        resolve_template(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[roles]]\ndisplay_name = "X"', r"roles\[0\]\.name: is missing"),
        ('[[roles]]\nname = "a.b"', r"roles\[0\]\.name: 'a\.b' is not a role"),
        ('[[roles]]\nname = "a"\nmodle = "opus"', r"roles\[0\]\.modle: there is no such key; did you mean 'model'\?"),
        ('[[roles]]\nname = "a"\n[[roles]]\nname = "A"', r"roles\[1\]\.name: there is a role 'a' already"),
        ('[[roles]]\nname = "qa"\n[workflow]\npipeline = ["qaa"]', r"workflow\.pipeline: 'qaa' .* did you mean 'qa'"),
        ('[[roles]]\nname = "qa"\n[git.ownership]\nstack = "x"', r"git\.ownership: 'stack': 'x' is not known"),
        ('toml_schema_version = "9"', "toml_schema_version: '9' is not known"),
        ("roles = 3", "roles: must be a list, not a number"),
        ('[team]\nname = "a\\u001b[2J"', r"team\.name: must not hold control characters"),
        ("[team", "correct that line"),
    ],
)
def test_a_wrong_team_file_is_refused_with_its_field(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "team.toml"
    path.write_text(text)

    with pytest.raises(InvalidRequest) as raised:
        TeamProfile.from_toml(path)

    assert re.search(message, str(raised.value))


@pytest.mark.parametrize("prompt", ["", "  \n ", 'say "x"\nthen \\ stop', "\u007f tab\there", "é 🙂 ]]"])
def test_any_prompt_survives_the_generated_file_and_none_is_empty(prompt: str, tmp_path: Path) -> None:
    team = TeamProfile("t", roles=(RoleProfile("qa", 'Q"A\\', startup_prompt=prompt),))
    text = generate_moot_toml(team, "http://127.0.0.1:8000")

    found = tomllib.loads(text)["agents"]["qa"]

    assert found.get("startup_prompt", "") == " ".join(prompt.split())
    assert found["display_name"] == 'Q"A\\'
    if "\u007f" not in prompt:
        path = tmp_path / "moot.toml"
        path.write_text(text)
        assert read_config(path).agent("qa").startup_prompt.strip()


def test_what_is_filled_in_is_not_filled_again(tmp_path: Path) -> None:
    (tmp_path / "CLAUDE.md").write_text("{project_name} {nothing}{slug} {role_count}")

    text = generate_claude_md(TeamProfile("t"), tmp_path, "{role_count} {api_url}")

    assert text == "{role_count} {api_url} {slug} 0"
