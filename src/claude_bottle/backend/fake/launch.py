"""The fake backend: its plan, its steps, and its bottles."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_bottle import state
from claude_bottle.backend.fake.bottle import FakeBottle
from claude_bottle.backend.interface import BottlePlan, BottleSpec, Say
from claude_bottle.harness import harness_of
from claude_bottle.harness.secrets import all_secrets
from claude_bottle.logins import kept_login
from claude_bottle.provision.harness import provision_login
from claude_bottle.provision.prompt import provision_prompt
from claude_bottle.provision.skills import provision_skills
from pyro_mcp.errors import NotFound

PAUSE = "CLAUDE_BOTTLE_FAKE_PAUSE"
"""The variable that names a step at which a launch stops forever, so that a test can interrupt it there."""


@dataclass(frozen=True, kw_only=True)
class FakePlan(BottlePlan):
    """A plan of the fake backend; `source` is the folder that is copied."""

    source: str | None

    @property
    def has_gateway(self) -> bool:
        return False


class FakeBackend:
    """Runs agents as ordinary processes of this host."""

    name = "fake"

    def problems(self) -> list[str]:
        return []

    def plan(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> FakePlan:
        bottle, agent = spec.manifest.bottle_of(spec.agent_name), spec.manifest.agent(spec.agent_name)
        environ = {**harness_of(agent).variables(agent), **bottle.env, **_upstreams(spec)}
        environ |= {name: f"placeholder-of-{name}" for name in all_secrets(spec.manifest, spec.agent_name)}
        return FakePlan(
            spec=spec,
            slug=slug,
            stage_dir=stage_dir,
            prompt_file=state.prompt_file(stage_dir),
            guest_env=environ,
            source=spec.user_cwd if spec.copy_cwd else None,
        )

    def steps(self, plan: BottlePlan) -> Sequence[str]:
        assert isinstance(plan, FakePlan)
        copied = f"copy {plan.source} to a folder of this host" if plan.source else "make an empty folder on this host"
        return [copied, "start the agent as a process of this host, without any boundary"]

    def launch(self, plan: BottlePlan, say: Say) -> FakeBottle:
        assert isinstance(plan, FakePlan)
        bottle = FakeBottle(plan.slug, plan.stage_dir)
        try:
            _step("tree", "copying the tree", say)
            bottle.tree.mkdir()
            if plan.source:
                bottle.guest.copy_in(plan.source, str(bottle.tree))
            bottle.git("init", "--quiet")
            bottle.git("add", "--all")
            bottle.git("commit", "--quiet", "--allow-empty", "--message=baseline")
            bottle.note_refs()
            _step("provision", "provisioning", say)
            agent = plan.spec.manifest.agent(plan.spec.agent_name)
            Path(bottle.guest.home).mkdir()
            prompt_path = provision_prompt(bottle.guest, plan.prompt_file, agent.prompt)
            provision_skills(bottle.guest, agent.skills)
            if agent.login:
                provision_login(bottle.guest, kept_login(plan.spec.agent_name, harness_of(agent).name).files, {})
            _step("start", "starting the agent", say)
            argv = harness_of(agent).argv(agent, plan.spec.args, prompt_path=prompt_path)
            bottle.start(argv, {**_own_variables(bottle), **plan.guest_env, **_values(plan.spec)})
        except BaseException:
            self.remove(plan.slug)
            raise
        return bottle

    def find(self, slug: str) -> FakeBottle:
        if slug not in self.slugs():
            raise NotFound(f"the fake backend has no bottle {slug!r}")
        return FakeBottle(slug, state.stage_dir(slug))

    def remove(self, slug: str) -> None:
        FakeBottle(slug, state.stage_dir(slug)).stop()

    def slugs(self) -> list[str]:
        return [slug for slug in state.slugs() if (state.stage_dir(slug) / "agent.json").exists()]


def _step(name: str, message: str, say: Say) -> None:
    say(message)
    if os.environ.get(PAUSE) == name:
        signal.pause()


def _own_variables(bottle: FakeBottle) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": bottle.guest.home, "TERM": "xterm-256color", "LANG": "C.UTF-8"}


def _values(spec: BottleSpec) -> Mapping[str, str]:
    """Return the values of the secrets as more variables: without a gateway, the agent itself must insert them."""
    found = all_secrets(spec.manifest, spec.agent_name)
    return {f"FAKE_{name}": secret.value(name) for name, secret in found.items()}


def _upstreams(spec: BottleSpec) -> Mapping[str, str]:
    """Return the variables that lead to the ports of this host: this backend has no gateway that could."""
    rules = spec.manifest.bottle_of(spec.agent_name).egress
    found = [rule.upstream for rule in rules if rule.upstream and rule.host == "api.anthropic.com"]
    return {"ANTHROPIC_BASE_URL": found[0]} if found else {}
