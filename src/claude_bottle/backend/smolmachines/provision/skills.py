"""The agent's skills, copied into the machine."""

from __future__ import annotations

import os  # noqa: F401 - by contract this module sees the host through `os.path.isdir` and `host_skill_dir` alone

from claude_bottle.backend.smolmachines import smolvm as _smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.provision import skills
from claude_bottle.provision.skills import host_skill_dir


def provision_skills(plan: SmolmachinesBottlePlan, machine_name: str) -> None:
    """Replace each skill in the machine by the host's copy; raise `SystemExit` when the host lacks one."""
    agent = plan.spec.manifest.agents[plan.spec.agent_name]
    skills.provision_skills(SmolGuest(_smolvm, machine_name), agent.skills, host_skill_dir)
