"""All steps of provisioning in order, for the backends whose guest has an agent's user and a tree."""

from __future__ import annotations

from collections.abc import Mapping

from claude_bottle.backend.interface import BottlePlan, Steps
from claude_bottle.harness import GuestPaths, harness_of
from claude_bottle.provision.git import provision_git
from claude_bottle.provision.harness import provision_harness
from claude_bottle.provision.prompt import provision_prompt
from claude_bottle.provision.skills import provision_skills


def provision_agent(plan: BottlePlan, guest: Steps, *, tree: str, environ: Mapping[str, str]) -> list[str]:
    """Bring all that the agent of a plan needs into the guest; return the agent's command line.

    `tree` is its working folder in the guest; `environ` has its variables, secrets as placeholders. Root owns what is
    made; the backend gives the home to the agent's user afterwards.
    """
    spec = plan.spec
    agent, bottle = spec.manifest.agent(spec.agent_name), spec.manifest.bottle_of(spec.agent_name)
    prompt_path = provision_prompt(guest, plan.prompt_file, agent.prompt)
    provision_skills(guest, agent.skills)
    user_name, user_email = bottle.git.author(spec.agent_name)
    provision_git(
        guest,
        user_name=user_name,
        user_email=user_email,
        tree=tree,
        remotes=bottle.git.declared(),
        copied=spec.user_cwd if spec.copy_cwd else "",
    )
    provision_harness(guest, spec, GuestPaths(home=guest.home, tree=tree, prompt_path=prompt_path, environ=environ))
    return harness_of(agent).argv(agent, spec.args, prompt_path=prompt_path)
