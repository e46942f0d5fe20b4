"""What a project's manifest takes from this host and opens to the network: a person reads it before the approval."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from claude_bottle.backend.gateway_policy import hosts_of_harness
from claude_bottle.budget.report import limit_text, planned_limits
from claude_bottle.harness.secrets import implied_key
from claude_bottle.manifest.trust import project_manifest

if TYPE_CHECKING:
    from claude_bottle.gate.remotes import Remote
    from claude_bottle.manifest import BottleConfig, LoadedManifest, Manifest, SecretConfig


def taken_from_host(loaded: LoadedManifest) -> list[str]:
    """Return what the project's manifest takes from this host and opens to the network, one line each.

    An agent that has a key of the project, or whose bottle has one, does what the project says: so all that it gets is
    listed, also what the user's own manifest gives to the bottle. Raises `NotFound` when the project has no manifest.
    """
    return list(dict.fromkeys(_lines(loaded)))


def _lines(loaded: LoadedManifest) -> Iterator[str]:
    project = str(project_manifest(loaded))
    ours = {one.where for one in loaded.settings if one.file == project}
    touched = {where[:2] for where in ours}
    manifest = loaded.manifest
    agents = {
        name: agent
        for name, agent in manifest.agents.items()
        if ("agents", name) in touched or ("bottles", agent.bottle) in touched
    }
    used = {agent.bottle for agent in agents.values()}
    for name, bottle in manifest.bottles.items():
        if ("bottles", name, "environment") in ours:
            yield f"the bottle {name} starts as {bottle.environment}"
        yield from _secrets(
            {
                variable: secret
                for variable, secret in bottle.secrets.items()
                if name in used or ("bottles", name, "secrets", variable) in ours
            }
        )
        for rule in bottle.egress if name in used or ("bottles", name, "egress") in ours else ():
            target = f"leads to port {rule.upstream_port} of this host" if rule.upstream else "can be reached"
            yield f"{rule.host} {target} from the bottle {name}"
        if bottle.supervise is not None and (name in used or ("bottles", name, "supervise") in ours):
            yield f"the bottle {name} may ask you for: {', '.join(bottle.supervise.capabilities)}"
            yield f"an approval for the bottle {name} lasts {bottle.supervise.grant_seconds / 60:g} min"
            if bottle.supervise.ask_when_refused:
                yield f"the bottle {name} asks you by itself for each host that it is refused"
        if any(where[:3] == ("bottles", name, "budget") for where in ours):
            yield from _budget(bottle, name)
        for remote in bottle.git.declared() if name in used or ("bottles", name, "git", "remotes") in ours else ():
            yield from _remote(remote, name)
    for name, agent in agents.items():
        yield from _secrets(manifest.bottle_of(name).secrets)
        yield from _harness(manifest, name)
        if ("agents", name, "harness") in ours:
            program = agent.harness if isinstance(agent.harness, str) else shlex.join(agent.harness)
            yield f"the agent {name} runs {program} in the bottle {agent.bottle}"
        if ("agents", name, "skills") in ours and agent.skills:
            yield f"your skills {', '.join(agent.skills)} are copied to the agent {name}"


def _harness(manifest: Manifest, name: str) -> Iterator[str]:
    """Yield what the program of an agent reaches and takes, also when no key of the manifest says so."""
    agent, hosts = manifest.agent(name), hosts_of_harness(manifest, name)
    if agent.login:
        yield (
            f"your kept login of the agent {name} enters its bottles, which reach {', '.join(hosts)} and all listed "
            "hosts"
        )
        return
    for host in hosts:
        yield f"{host} can be reached from the bottle {agent.bottle}"
    if key := implied_key(manifest, name):  # also if this shell lacks the variable: the next one may have it
        yield f"the variable {key.env}, if this host has it, goes to {', '.join(key.hosts)}"


def _budget(bottle: BottleConfig, name: str) -> Iterator[str]:
    """Yield what the agent may use of the models, and the prices that it is counted with."""
    given = bottle.model_dump(mode="json")["budget"]
    yield f"the bottle {name} may use {', '.join(map(limit_text, planned_limits(given)))} of its models"
    for model, price in given["prices"].items():
        if price["input"] is not None:
            paid = f"${price['input']:g} for a million tokens of requests and ${price['output']:g} of answers"
            yield f"the bottle {name} counts {model} at {paid}"


def _remote(remote: Remote, bottle: str) -> Iterator[str]:
    if remote.fetch:
        yield f"the bottle {bottle} fetches from {remote.url}, with your credentials"
    for rule in remote.push:
        how = "after you approve each push" if rule.approve == "ask" else "WITHOUT asking you"
        yield f"the bottle {bottle} pushes {rule.ref} to {remote.url}, with your credentials, {how}"
    if remote.not_secret:
        yield f"pushes to {remote.url} may hold {len(remote.not_secret)} texts that look like secrets"


def _secrets(found: Mapping[str, SecretConfig]) -> Iterator[str]:
    for secret in found.values():
        source = f"the variable {secret.env}" if secret.env is not None else f"the file {secret.file}"
        asks = ", when you have approved it" if secret.ask else ""
        yield f"{source} of this host goes to {', '.join(secret.hosts)}{asks}"
