"""The plan of a bottle in a machine, and the options of the workspace that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_bottle.backend.gateway_policy import entries_of
from claude_bottle.backend.interface import BottlePlan, BottleSpec
from claude_bottle.harness import harness_of
from claude_bottle.harness.secrets import all_secrets
from claude_bottle.manifest import SecretConfig
from claude_bottle.provision.git_config import config_files
from claude_bottle.state import prompt_file
from pyro_mcp.network import AllowGiven
from pyro_mcp.results import MANAGED_BY

LABEL = "claude-bottle"
AGENT_UIDS = {"debian:12-agent": 1000}
"""The id of the agent's user in the environments that are known to have one."""
_EGRESS, _OFF = "egress", "off"


@dataclass(frozen=True, kw_only=True)
class PyroPlan(BottlePlan):
    """The plan of a bottle in a machine: the variables without secrets, the secrets, and the allow list."""

    secrets: dict[str, SecretConfig]
    allow: tuple[AllowGiven, ...]

    @property
    def has_gateway(self) -> bool:
        return bool(self.allow)

    @property
    def network_policy(self) -> str:
        """The network policy of its workspace: none at all when nothing is allowed."""
        return _EGRESS if self.allow else _OFF


def plan_of(spec: BottleSpec, *, slug: str, stage_dir: Path) -> PyroPlan:
    """Return the plan of a launch."""
    agent, bottle = spec.manifest.agent(spec.agent_name), spec.manifest.bottle_of(spec.agent_name)
    return PyroPlan(
        spec=spec,
        slug=slug,
        stage_dir=stage_dir,
        prompt_file=prompt_file(stage_dir),
        guest_env={**harness_of(agent).variables(agent), **bottle.env},
        secrets=dict(all_secrets(spec.manifest, spec.agent_name)),
        allow=entries_of(spec.manifest, spec.agent_name),
    )


def workspace_options(plan: PyroPlan) -> dict[str, Any]:
    """Return the keywords of `create_workspace` for a plan; this reads the values of secrets."""
    spec = plan.spec
    bottle = spec.manifest.bottle_of(spec.agent_name)
    size = bottle.resources
    return {
        "name": plan.slug,
        "labels": {LABEL: plan.slug, MANAGED_BY: "claude-bottle"},
        "seed_path": spec.user_cwd if spec.copy_cwd else None,
        "seed_left_out": config_files(Path(spec.user_cwd)) if spec.copy_cwd else (),
        "seed_owner": AGENT_UIDS.get(bottle.environment, 0),
        "vcpu_count": size.vcpu_count,
        "mem_mib": size.mem_mib,
        "ttl_seconds": size.ttl_seconds,
        "network_policy": plan.network_policy,
        "allow_hosts": list(plan.allow),
        "secrets": [_given(name, secret) for name, secret in plan.secrets.items()],
        "accelerator": bottle.accelerator,
        "supervisor": plan.guard,
    }


def _given(name: str, secret: SecretConfig) -> dict[str, Any]:
    """Return a secret as the SDK takes it."""
    places = {"header": secret.header, "basic": secret.basic, "query": secret.query}
    hosts = {"host": secret.hosts[0]} if len(secret.hosts) == 1 else {"hosts": list(secret.hosts)}
    return {"name": name, "value": secret.value(name), **hosts, **{at: one for at, one in places.items() if one}}
