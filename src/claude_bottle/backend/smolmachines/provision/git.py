"""The author of commits in the machine, and git's trust in the tree."""

from __future__ import annotations

from claude_bottle.backend.interface import TREE
from claude_bottle.backend.smolmachines import smolvm as _smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import SmolGuest
from claude_bottle.provision import git


def provision_git(plan: SmolmachinesBottlePlan, machine_name: str) -> None:
    """Write the settings of git into the machine; no credential of this host enters."""
    spec, name = plan.spec, plan.spec.agent_name
    config = plan.spec.manifest.bottle_of(name).git
    user_name, user_email = config.author(name)
    git.provision_git(
        SmolGuest(_smolvm, machine_name),
        user_name=user_name,
        user_email=user_email,
        tree=TREE,
        remotes=config.declared(),
        copied=spec.user_cwd if spec.copy_cwd else "",
    )
