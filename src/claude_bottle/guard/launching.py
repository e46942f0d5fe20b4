"""The settings that a launch gives to the guard of its bottle."""

from __future__ import annotations

from claude_bottle.backend.gateway_policy import rules_of
from claude_bottle.backend.interface import BottlePlan
from claude_bottle.guard.process import new_guard_name
from claude_bottle.guard.settings import GuardSettings
from claude_bottle.state import Record


def settings_of(plan: BottlePlan, record: Record) -> GuardSettings:
    """Return the settings of the guard for the launch of a plan; they have no secret, and none of its variables."""
    manifest, agent = plan.spec.manifest, plan.spec.agent_name
    return GuardSettings(
        guard=new_guard_name(),
        slug=plan.slug,
        agent=agent,
        bottle=record.bottle,
        backend=record.backend,
        rules=rules_of(manifest, agent).to_json(),
        config=manifest.bottle_of(agent).model_dump(mode="json", exclude={"env"}),
        manifest_files=tuple(record.manifest_files),
        budget_file=record.budget_file,
    )
