"""Teams as files: who is in one, how they work together, and what a project gets from it.

profile, folder = load_template("loop-4")
text = generate_moot_toml(profile, "http://127.0.0.1:8000", space_id="spc_1")
instructions = generate_claude_md(profile, folder, project_name="shop")
"""

from __future__ import annotations

from moot.team_profile.claude_md import generate_claude_md
from moot.team_profile.moot_toml import generate_moot_toml
from moot.team_profile.profile import (
    GitProfile,
    ResourceProfile,
    RoleProfile,
    TeamProfile,
    WorkflowProfile,
)
from moot.team_profile.templates import (
    TEAMS_DIR,
    builtin_profile,
    builtin_templates,
    default_theme,
    load_template,
    resolve_template,
)

__all__ = [
    "TEAMS_DIR",
    "GitProfile",
    "ResourceProfile",
    "RoleProfile",
    "TeamProfile",
    "WorkflowProfile",
    "builtin_profile",
    "builtin_templates",
    "default_theme",
    "generate_claude_md",
    "generate_moot_toml",
    "load_template",
    "resolve_template",
]
