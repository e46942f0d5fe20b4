"""The agent's prompt, copied into the machine."""

from __future__ import annotations

from claude_bottle.backend.smolmachines import smolvm as _smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.provision import prompt


def provision_prompt(plan: SmolmachinesBottlePlan, machine_name: str) -> str | None:
    """Copy the prompt's file into the machine; return its path there, None for an empty prompt."""
    agent = plan.spec.manifest.agents[plan.spec.agent_name]
    return prompt.provision_prompt(SmolGuest(_smolvm, machine_name), plan.prompt_file, agent.prompt)
