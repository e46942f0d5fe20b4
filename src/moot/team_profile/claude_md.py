"""The instructions of a team for its agents: a template with placeholders, filled from the team's profile."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from moot.team_profile.profile import TeamProfile
from moot.team_profile.templates import TEAMS_DIR

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)\}")
_KEPT = ("slug", "role")
"""Placeholders that the agents themselves fill: parts of branch names."""
_MINIMAL = TEAMS_DIR / "CLAUDE.md"


def generate_claude_md(
    profile: TeamProfile,
    template_dir: Path | None,
    project_name: str = "My Project",
    more: Mapping[str, str] | None = None,
) -> str:
    """Return the `CLAUDE.md` of a project. `more` fills further placeholders; an unknown one becomes empty.

    A folder without a `CLAUDE.md` gives a minimal document. What is filled in is not filled again.
    """
    file = template_dir / "CLAUDE.md" if template_dir else None
    text = file.read_text() if file and file.is_file() else _MINIMAL.read_text()
    values = {**values_of(profile), "project_name": project_name, **(more or {})}
    return _PLACEHOLDER.sub(lambda found: found[0] if found[1] in _KEPT else values.get(found[1], ""), text)


def values_of(profile: TeamProfile) -> dict[str, str]:
    """Return what fills the placeholders of a template."""
    return {
        "role_count": str(len(profile.roles)),
        "role_list": _joined([f"**{role.display_name}**" for role in profile.roles]),
        "role_descriptions": "\n".join(f"- **{one.display_name}** -- {one.responsibilities}" for one in profile.roles),
        "workflow_description": profile.workflow.description,
        "pipeline_diagram": _pipeline(profile),
        "handoff_protocol": _handoff(profile),
        "threading_protocol": _threading(profile),
        "git_description": _git(profile),
        "resource_ownership": _resources(profile),
        "team_template": profile.name,
    }


def _joined(names: list[str]) -> str:
    if len(names) <= 2:
        return " and ".join(names)
    return f"{', '.join(names[:-1])}, and {names[-1]}"


def _titled(name: str) -> str:
    return name.replace("_", " ").title()


def _pipeline(profile: TeamProfile) -> str:
    names = [_titled(name) for name in profile.workflow.pipeline]
    return " --> ".join([*names, names[0]]) if names else ""


def _handoff(profile: TeamProfile) -> str:
    workflow = profile.workflow
    lines = [
        "Hand work over with a message that mentions the next agent by its participant_id.",
        f"Handoff method: {workflow.handoff_method}.",
        "",
        *(f"- {one[:1].upper()}{one[1:]}" for one in workflow.handoff_includes),
    ]
    return "\n".join(lines).rstrip()


def _threading(profile: TeamProfile) -> str:
    if not profile.workflow.threads:
        return "Keep each subject in a thread of its own."
    lines = ["Keep each subject in a thread of its own. The first message of a thread begins with its kind:", ""]
    lines += [f"- **`{prefix}` threads** -- {_titled(name)}" for name, prefix in profile.workflow.threads.items()]
    return "\n".join(lines)


def _git(profile: TeamProfile) -> str:
    git = profile.git
    lines = [git.description, ""] if git.description else []
    lines += [
        f"- Strategy: {git.strategy}",
        f"- Branch of a feature: `{git.feature_branch}`",
        f"- Branch of an agent: `{git.agent_branch}`",
        f"- Merge to main: {git.merge_to_main}",
    ]
    if git.ownership:
        lines += ["", "**Ownership:**", *(f"- {_titled(what)}: {owner}" for what, owner in git.ownership.items())]
    return "\n".join(lines)


def _resources(profile: TeamProfile) -> str:
    resources = profile.resources
    lines = [resources.description, ""] if resources.description else []
    if resources.owners:
        lines += ["| Resource | Owner |", "|---|---|"]
        lines += [f"| {_titled(what)} | {_titled(owner)} |" for what, owner in resources.owners.items()]
    return "\n".join(lines).rstrip()
