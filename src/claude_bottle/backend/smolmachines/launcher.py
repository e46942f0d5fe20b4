"""Launch, find and remove bottles in machines of smolvm."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from claude_bottle.backend import gateway_policy
from claude_bottle.backend.interface import TREE, Bottle, BottlePlan, BottleSpec, Say, plan_as
from claude_bottle.backend.smolmachines import bottle, programs, smolvm
from claude_bottle.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from claude_bottle.backend.smolmachines.guest import HOME
from claude_bottle.backend.smolmachines.namespace import is_in, network_namespace
from claude_bottle.backend.smolmachines.provision import ca, git, prompt, skills, supervise
from claude_bottle.harness import harness_of
from claude_bottle.provision.git_config import config_files
from claude_bottle.state import prompt_file, stage_dir
from pyro_mcp.errors import GuestFailed, HostToolMissing, InvalidRequest
from pyro_mcp.host.files import private_directory, temporary_folder
from pyro_mcp.network import GUEST_ADDRESS, RESOLVER_ADDRESS, GuestCA, launch_gateway, network_problems
from pyro_mcp.sessions import Program
from pyro_mcp.trees import prepare_seed, push_seed

PACKED_VARIABLE = "CLAUDE_BOTTLE_SMOLMACHINE"
"""The variable that names the packed machine for an environment that smolvm cannot make itself."""
_PACKED, _IMAGE = ".smolmachine", "oci:"
_TERMINAL_KEPT = 1024 * 1024
# Claude Code refuses to skip its permission prompts as root, unless it is told that it is in a sandbox.
_ENVIRON = {"HOME": HOME, "USER": "root", "LANG": "C.UTF-8", "TERM": "xterm-256color", "IS_SANDBOX": "1"}


class SmolmachinesBackend:
    """Bottles in machines of smolvm. The machine's name holds the slug; the stage folder has everything else."""

    name = "smolmachines"

    def problems(self) -> list[str]:
        """Return why no machine of smolvm can be a bottle here."""
        found = [f"{problem}: {remedy}" for problem, remedy in network_problems(needs_tap=False)]
        try:
            smolvm.program()
        except HostToolMissing as error:
            found.append(f"{error.message}: {error.hint}")
        if os.geteuid() != 0:
            found.append("a machine's network namespace needs root: run claude-bottle as root, or use another backend")
        return found

    def plan(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> SmolmachinesBottlePlan:
        agent, config = spec.manifest.agent(spec.agent_name), spec.manifest.bottle_of(spec.agent_name)
        subnet = ipaddress.ip_network(f"{GUEST_ADDRESS}/24", strict=False)
        given = gateway_policy.placeholders(spec.manifest, spec.agent_name)
        return SmolmachinesBottlePlan(
            spec=spec,
            slug=slug,
            stage_dir=stage_dir,
            prompt_file=prompt_file(stage_dir),
            guest_env={**_ENVIRON, **harness_of(agent).variables(agent), **config.env, **given},
            bundle_subnet=str(subnet),
            bundle_gateway=str(subnet[2]),
            bundle_ip=GUEST_ADDRESS,
            machine_name=bottle.machine_name(slug),
            agent_from_path=_packed(config.environment),
        )

    def steps(self, plan: BottlePlan) -> Sequence[str]:
        """Return what a launch does on this host."""
        own = plan_as(SmolmachinesBottlePlan, plan)
        config = own.spec.manifest.bottle_of(own.spec.agent_name)
        source = own.agent_from_path or config.environment
        tree = f"a copy of {own.spec.user_cwd}" if own.spec.copy_cwd else "empty"
        size = config.resources
        return [
            f"create the machine {own.machine_name} from {source}: {size.vcpu_count} CPUs, {size.mem_mib} MiB",
            f"start it in a network namespace with only its own gateway, as {own.bundle_ip} of {own.bundle_subnet}",
            f"its tree {TREE} is {tree}; nothing of this host is mounted, and no port is published",
            "smolvm ends no machine by itself: it runs until claude-bottle stop",
        ]

    def launch(self, plan: BottlePlan, say: Say) -> Bottle:
        own = plan_as(SmolmachinesBottlePlan, plan)
        _check(own)
        try:
            return self._launched(own, say)
        except BaseException:
            self.remove(plan.slug)
            raise

    def find(self, slug: str) -> Bottle:
        return bottle.found(slug, stage_dir(slug))

    def slugs(self) -> list[str]:
        names = [name for name in _machines() if name.startswith(bottle.PREFIX)]
        return sorted(name.removeprefix(bottle.PREFIX) for name in names)

    def remove(self, slug: str) -> None:
        if bottle.machine_name(slug) in _machines():
            smolvm.machine_rm(bottle.machine_name(slug))

    def _launched(self, plan: SmolmachinesBottlePlan, say: Say) -> Bottle:
        spec, name = plan.spec, plan.machine_name
        config, agent = spec.manifest.bottle_of(spec.agent_name), spec.manifest.agent(spec.agent_name)
        say(f"creating the machine {name}")
        smolvm.machine_create(
            name,
            from_path=plan.agent_from_path,
            image="" if plan.agent_from_path else config.environment.removeprefix(_IMAGE),
            cpus=config.resources.vcpu_count,
            mem_mib=config.resources.mem_mib,
            resolver=RESOLVER_ADDRESS,
        )
        environ = dict(plan.guest_env)
        authority = self._start(plan, say)
        say("copying the prompt, the skills and the settings")
        programs.install_programs(name)
        if spec.copy_cwd:
            with temporary_folder() as work:
                left_out = [os.fsencode(path) for path in config_files(Path(spec.user_cwd))]
                push_seed(programs.tree(name), prepare_seed(Path(spec.user_cwd), work, left_out=left_out))
        environ |= ca.provision_ca(plan, name, authority)
        prompt_path = prompt.provision_prompt(plan, name)
        skills.provision_skills(plan, name)
        git.provision_git(plan, name)
        supervise.provision_supervise(plan, name, environ, prompt_path)
        programs.keep_baseline(name)
        bottle.keep_environ(plan.stage_dir, environ)
        argv = harness_of(agent).argv(agent, spec.args, prompt_path=prompt_path)
        say(f"starting {argv[0]}")
        program = Program(argv, cwd=TREE, environ=environ, capacity=_TERMINAL_KEPT)
        programs.sessions(name).open(programs.AGENT, "terminal", program)
        return bottle.SmolBottle(plan.slug, plan.stage_dir)

    def _start(self, plan: SmolmachinesBottlePlan, say: Say) -> GuestCA:
        """Start the machine behind its gateway; return the certificates that its programs must trust."""
        manifest, agent_name = plan.spec.manifest, plan.spec.agent_name
        rules = gateway_policy.rules_of(manifest, agent_name)
        given = gateway_policy.host_secrets(manifest, agent_name, plan.guest_env)
        folder = private_directory(plan.stage_dir / "gateway")
        authority = gateway_policy.authority_of(folder / "authority", rules, given)
        log = bottle.network_log_path(plan.stage_dir)
        with (
            network_namespace() as namespace,
            launch_gateway(folder, log, rules, given, authority, namespace=namespace, supervisor=plan.guard) as gateway,
        ):
            gateway.wait_until_ready()
            say("starting the machine")
            smolvm.machine_start(plan.machine_name, network_namespace=namespace)
            pid = smolvm.machines()[plan.machine_name]
            if pid is None or not is_in(pid, namespace):
                raise GuestFailed(
                    "smolvm did not start the machine in the network namespace of its gateway",
                    hint="the machine was removed, because it would have the network of this host; use another backend",
                )
            gateway.attach_to_process(pid)
        return GuestCA(authority)


def _machines() -> Mapping[str, int | None]:
    """Return the machines of smolvm; none where it is not installed."""
    try:
        return smolvm.machines()
    except HostToolMissing:
        return {}


def _packed(environment: str) -> Path | None:
    """Return the packed machine of an environment; None for an image."""
    if environment.startswith(_IMAGE):
        return None
    named = environment if environment.endswith(_PACKED) else os.environ.get(PACKED_VARIABLE)
    return Path(named).expanduser() if named else None


def _check(plan: SmolmachinesBottlePlan) -> None:
    """Raise `InvalidRequest` for what a machine of smolvm cannot do."""
    config = plan.spec.manifest.bottle_of(plan.spec.agent_name)
    if plan.agent_from_path is None and not config.environment.startswith(_IMAGE):
        raise InvalidRequest(
            f"smolvm cannot make the environment {config.environment}",
            hint="pack a machine with the agent (smolvm pack create), and name it in the bottle's environment or in "
            f"{PACKED_VARIABLE}; or use an image: {_IMAGE}NAME",
        )
    if plan.agent_from_path is not None and not plan.agent_from_path.is_file():
        raise InvalidRequest(
            f"there is no packed machine {plan.agent_from_path}",
            hint=f"name one in the bottle's environment or in {PACKED_VARIABLE}",
        )
    for what, given in (
        ("packages", config.packages),
        ("accelerator", config.accelerator != "auto"),
        ("ttl_seconds", "ttl_seconds" in config.resources.model_fields_set),
    ):
        if given:
            raise InvalidRequest(f"the backend smolmachines has no {what}", hint=f"remove {what} from the bottle")
