"""Launch, find and remove bottles in containers."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from claude_bottle.backend.docker import container
from claude_bottle.backend.docker.account import LABEL as ACCOUNT_LABEL
from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.bottle import DockerBottle
from claude_bottle.backend.docker.engine import Engine, failed
from claude_bottle.backend.docker.guest import ContainerGuest
from claude_bottle.backend.docker.images import ensure_image, image_name
from claude_bottle.backend.docker.names import SLUG_LABEL, STAGE_LABEL, Names
from claude_bottle.backend.docker.packages import image_with
from claude_bottle.backend.docker.plan import DockerPlan
from claude_bottle.backend.docker.problems import docker_problems
from claude_bottle.backend.docker.removal import remove
from claude_bottle.backend.docker.tree import Tree
from claude_bottle.backend.gateway_policy import authority_of, host_secrets, rules_of
from claude_bottle.backend.interface import TREE, BottlePlan, BottleSpec, Say, plan_as
from claude_bottle.harness import harness_of
from claude_bottle.provision.agent import provision_agent
from claude_bottle.provision.batch import gathering
from claude_bottle.provision.ca import provision_ca
from claude_bottle.state import prompt_file, stage_dir
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, InvalidRequest, NotFound
from pyro_mcp.network import GuestCA, HostSecret, Rules, launch_gateway

RUNTIME = "CLAUDE_BOTTLE_DOCKER_RUNTIME"
"""The variable that names the runtime of containers, such as runsc."""

_TERMINAL = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}


class DockerBackend:
    """Bottles in containers of the daemon that `docker` reaches."""

    name = "docker"

    def __init__(self) -> None:
        self._engine = Engine()

    def problems(self) -> list[str]:
        return docker_problems(self._engine, os.environ.get(RUNTIME))

    def plan(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> DockerPlan:
        agent, bottle = spec.manifest.agent(spec.agent_name), spec.manifest.bottle_of(spec.agent_name)
        if bottle.accelerator != "auto":
            raise InvalidRequest(
                f"bottles.{agent.bottle}.accelerator: a container has no accelerator",
                hint="leave it out, or use the backend pyro",
            )
        return DockerPlan(
            spec=spec,
            slug=slug,
            stage_dir=stage_dir,
            prompt_file=prompt_file(stage_dir),
            guest_env={**harness_of(agent).variables(agent), **bottle.env},
            runtime=os.environ.get(RUNTIME) or None,
        )

    def steps(self, plan: BottlePlan) -> Sequence[str]:
        own = plan_as(DockerPlan, plan)
        size = own.bottle.resources
        tree = f"a copy of {plan.spec.user_cwd}" if plan.spec.copy_cwd else "empty"
        shape = f"{size.vcpu_count} CPUs, {size.mem_mib} MiB" + (f", runtime {own.runtime}" if own.runtime else "")
        packages = ", ".join(own.bottle.packages)
        return [
            *([f"make an image with {packages}, once"] if packages else []),
            f"start the container {own.names.container} of {image_name(own.bottle.environment)} ({shape})",
            f"kill it after {size.ttl_seconds / 3600:g} h",
            f"its tree {TREE} is the volume {own.names.tree}, {tree}; {own.names.baseline} keeps its first content",
            "nothing of this host is mounted, and no port is published",
            "no network of docker, but an interface that leads only to its own gateway",
        ]

    def launch(self, plan: BottlePlan, say: Say) -> DockerBottle:
        own = plan_as(DockerPlan, plan)
        try:
            return self._launched(own, say)
        except (HostCommandFailed, DeadlineExceeded) as error:
            self.remove(plan.slug)
            raise failed(error, "the bottle could not be launched") from error
        except BaseException:
            self.remove(plan.slug)
            raise

    def find(self, slug: str) -> DockerBottle:
        names = Names(slug, stage_dir(slug))
        found = self._engine.inspect(names.container)
        if found is None or found["State"]["Status"] == "created":
            raise NotFound(f"docker has no container of the bottle {slug!r}")
        return DockerBottle(self._engine, names, Account.from_label(found["Config"]["Labels"][ACCOUNT_LABEL]))

    def remove(self, slug: str) -> None:
        remove(self._engine, Names(slug, stage_dir(slug)))

    def slugs(self) -> list[str]:
        form = f'{{{{.Label "{SLUG_LABEL}"}}}}\t{{{{.Label "{STAGE_LABEL}"}}}}'
        lines = self._engine.call(["ps", "--all", f"--filter=label={SLUG_LABEL}", f"--format={form}"]).splitlines()
        found = dict(line.split("\t", 1) for line in lines)
        return sorted(slug for slug, stage in found.items() if stage == str(stage_dir(slug)))

    def _launched(self, plan: DockerPlan, say: Say) -> DockerBottle:
        engine, names, bottle = self._engine, plan.names, plan.bottle
        secrets = host_secrets(plan.spec.manifest, plan.spec.agent_name)
        rules = rules_of(plan.spec.manifest, plan.spec.agent_name)
        ca = GuestCA(authority_of(plan.stage_dir / "authority", rules, secrets))
        environ = {**_TERMINAL, **ca.environ(), **plan.guest_env, **{one.name: one.placeholder for one in secrets}}
        image = ensure_image(engine, bottle.environment, names, say)
        image = image_with(engine, image, bottle.packages, names, say)
        say(f"starting the container {names.container}")
        tree = Tree(engine, names)
        tree.create()
        container.create(engine, names, image, environ, bottle.resources, runtime=plan.runtime)
        engine.change(["start", names.container])
        guest = ContainerGuest(engine, names.container, image.account)
        container.require_setpriv(guest)
        guest.give_folder(TREE)
        if plan.spec.copy_cwd:
            say(f"copying {plan.spec.user_cwd}")
            tree.seed(Path(plan.spec.user_cwd), image.account)
        say("copying the prompt, the skills and the settings")
        with gathering(guest.home) as batch:
            provision_ca(batch, ca)
            argv = provision_agent(plan, batch, tree=TREE, environ=environ)
            guest.give_home(batch)
            guest.carry_out(batch)
        guest.write(container.programs(image.account, argv))
        say(f"starting {argv[0]}")
        self._begin(plan, rules, secrets, ca)
        return DockerBottle(engine, names, image.account)

    def _begin(self, plan: DockerPlan, rules: Rules, secrets: Sequence[HostSecret], ca: GuestCA) -> None:
        """Connect the container to a gateway that ends with it, then let it start the agent."""
        pid = container.first_process(self._engine, plan.names.container)
        with launch_gateway(
            plan.names.gateway,
            plan.names.network_log,
            rules,
            secrets,
            ca.authority,
            namespace=Path(f"/proc/{pid}/ns/net"),
            supervisor=plan.guard,
        ) as gateway:
            gateway.attach_to_process(pid)
            container.end_at(plan.names.deadline, time.time() + plan.bottle.resources.ttl_seconds)
            container.kill_in_time(self._engine, plan.names.container, plan.names.deadline)
            container.begin(self._engine, plan.names.container)
