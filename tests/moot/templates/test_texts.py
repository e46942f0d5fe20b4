"""Skills and instructions of a team name only tools, arguments, message types and files that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from moot.adapters.mcp_adapter import TOOLS
from moot.team_profile import TEAMS_DIR, builtin_profile, builtin_templates, generate_claude_md
from tests.style.project import ROOT

TEMPLATES = ROOT / "src/moot/templates"
SKILLS = sorted(TEMPLATES.glob("skills/*/SKILL.md"))
TEXTS = [*SKILLS, TEMPLATES / "CLAUDE.md", *sorted(TEAMS_DIR.glob("*/CLAUDE.md"))]
ARGUMENTS = {tool.name: set(tool.arguments.model_fields) for tool in TOOLS} | {"subscribe": {"space_id"}}
TYPES = {
    *("feature", "question", "git_request", "stack_request", "review_request", "code_share", "status_update"),
    *("decision_propagated", "retro", "bug"),
}
NAMES = (
    *("doc-curation", "handoff", "leader-workflow", "librarian-workflow", "memory-audit", "product-workflow"),
    *("spec-checklist", "verify"),
)
CALL = re.compile(r"\b([a-z]+(?:_[a-z]+)*)\(([^()]*)\)")


def shown(path: Path) -> str:
    return str(path.relative_to(TEMPLATES))


def test_there_are_eight_skills() -> None:
    assert tuple(path.parent.name for path in SKILLS) == NAMES


@pytest.mark.parametrize("path", TEXTS, ids=shown)
def test_a_text_calls_only_tools_that_exist_with_their_arguments(path: Path) -> None:
    for name, arguments in CALL.findall(path.read_text()):
        assert name in ARGUMENTS, f"there is no tool {name}"
        for one in re.findall(r"(\w+)=", arguments):
            assert one in ARGUMENTS[name], f"{name} has no argument {one}"
    assert set(re.findall(r'message_type="(\w+)"', path.read_text())) <= TYPES


@pytest.mark.parametrize("path", TEXTS, ids=shown)
def test_a_text_names_only_skills_that_exist(path: Path) -> None:
    found = re.findall(r"skills? `([a-z-]+)`", path.read_text())
    assert set(found) <= set(NAMES)


@pytest.mark.parametrize("path", SKILLS, ids=shown)
def test_a_skill_has_a_header_that_a_harness_reads(path: Path) -> None:
    _, header, body = path.read_text().split("---\n", 2)
    found = yaml.safe_load(header)
    assert found["name"] == path.parent.name
    assert 20 < len(found["description"]) < 300
    assert set(found) <= {"name", "description", "argument-hint"}
    for word in ("/workspaces/", "Pat", "feedback_", "Arch Run", "agt_", "evt_", "spc_", "docker exec convo-"):
        assert word not in path.read_text()
    assert len(body.splitlines()) < 80


def test_the_audit_has_its_headings_and_its_marks() -> None:
    text = (TEMPLATES / "skills/memory-audit/SKILL.md").read_text()
    headings = ["Purpose", "When to invoke", "Who runs it", "The three-criterion promotion rubric"]
    for heading in [*headings, "Classification outcomes", "Execution recipe"]:
        assert f"\n## {heading}\n" in text
    for mark in ("Validated across", "Operator-agnostic", "Describes a rule", "(a)", "(b)", "(c)", "(d)"):
        assert mark in text
    assert 'grep="^memory audit:"' in text
    assert "\nname: memory-audit\n" in text


@pytest.mark.parametrize("name", builtin_templates())
def test_the_instructions_of_a_team_are_filled(name: str) -> None:
    more = {"space_id": "spc_1", "space_name": "Home", "api_url": "http://127.0.0.1:8000"}
    text = generate_claude_md(builtin_profile(name), TEAMS_DIR / name, project_name="shop", more=more)
    assert set(re.findall(r"\{[a-z_]+\}", text)) <= {"{slug}", "{role}"}
    assert text.startswith("# shop\n") and "\nTODO: " in text and f"Team `{name}`" in text
    for one in TYPES:
        assert f"| `{one}` |" in text
    readme = (TEAMS_DIR / name / "README.md").read_text()
    assert readme.startswith(f"# {name}\n") and f"moot init --template {name}" in readme
    for role in builtin_profile(name).roles:
        assert role.display_name in readme


def test_the_settings_run_the_four_hooks_that_exist() -> None:
    settings = json.loads((TEMPLATES / "claude/settings.json").read_text())
    found = {
        event: (group["matcher"], re.findall(r'^"\$CLAUDE_PROJECT_DIR"/\.claude/hooks/(\S+)$', hook["command"]))
        for event, groups in settings["hooks"].items()
        for group in groups
        for hook in group["hooks"]
    }
    assert found == {
        "SessionStart": ("", ["auto-orient.sh"]),
        "PreToolUse": ("Bash", ["git-guard.sh"]),
        "PostToolUse": ("Grep", ["grep-baseline-diff.sh"]),
        "Stop": ("", ["handoff-status-check.sh"]),
    }
    assert settings["permissions"]["defaultMode"] == "bypassPermissions"
    for _, names in found.values():
        assert (TEMPLATES / "claude/hooks" / names[0]).stat().st_mode & 0o111
