"""The team of a project: one object, one method for each verb.

team = Team.of_folder(Path.cwd(), say=print)
report = team.up(["product", "qa"])
print([one.outcome for one in report.roles])
team.down()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moot.bottled.work import HandedBack
from moot.config import MootConfig, project_folder, require_config, require_own_moot_folder, without_agents
from moot.runtimes import Kept, Runtime, record_runtime, recorded_runtime, runtime_named
from moot.team.launch import FAILED, Launch, RoleReport, Say, require_roles, role_lock
from moot.team.status import StatusReport, TeamStatus
from pyro_mcp.errors import Conflict, NotFound, PyroError, own_error
from pyro_mcp.hints import near_match
from pyro_mcp.host.files import private_directory

STOPPED, NOT_RUNNING, SENT, DETACHED = "stopped", "not_running", "sent", "detached"


def quiet(_text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class TeamReport:
    """What a verb did with each role. `kept` is left on purpose; `terminals` were closed by `detach`, else None."""

    roles: list[RoleReport]
    kept: list[Kept] = field(default_factory=list)
    terminals: int | None = None

    @property
    def failed(self) -> bool:
        return any(one.outcome == FAILED for one in self.roles)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Team:
    """The agents that the `moot.toml` of a project describes."""

    def __init__(self, config: MootConfig, runtime: Runtime, *, say: Say = quiet) -> None:
        self._config, self._runtime, self._say = config, runtime, say

    @classmethod
    def of_folder(cls, folder: Path | None = None, *, say: Say = quiet) -> Team:
        """Return the team of the project that a folder (the current one) is in.

        Raises `NotFound` without a `moot.toml`, `InvalidRequest` for one that is not valid.
        """
        config = require_config(folder)
        recorded = recorded_runtime(config.root)
        if recorded not in ("", config.runtime):
            before = runtime_named(recorded, config.root)
            if before.agents():
                say(f"These agents were started with the runtime {recorded}; moot.toml names {config.runtime} now.")
                return cls(config, before, say=say)
        return cls(config, runtime_named(config.runtime, config.root), say=say)

    @classmethod
    def to_end(cls, folder: Path | None = None, *, say: Say = quiet) -> Team:
        """Return the team of a project with the runtime of its last launch, whatever `moot.toml` says now.

        What runs can be ended also when that file is not valid or gone. Raises what `of_folder` raises where nothing
        was ever started.
        """
        root = project_folder(folder)
        recorded = recorded_runtime(root)
        try:
            config = require_config(folder)
        except PyroError as error:
            if not recorded:
                raise
            say(f"{error.message}\nEnding the agents that were started anyway.")
            config = without_agents(root, recorded)
        return cls(config, runtime_named(recorded or config.runtime, root), say=say)

    def up(self, only: Sequence[str] | None = None) -> TeamReport:
        """Start all agents, or those of the roles `only`; those that run already stay as they are.

        Raises `NotFound` for an unknown role, before anything is started.
        """
        roles = require_roles(self._config, only)
        if not roles:
            raise NotFound(f"{self._config.path} has no agents", hint="'moot init' writes them")
        return TeamReport(self._launch().run(roles))

    def exec(self, role: str, *, prompt: str | None = None) -> TeamReport:
        """Start the agent of one role, with `prompt` instead of its startup prompt.

        Raises `Conflict` when a prompt is given for an agent that runs already: it would be lost.
        """
        agent = self._config.agent(role)
        found = self._runtime.agents().get(agent.role)
        if prompt is not None and found is not None and found.alive:
            raise Conflict(
                f"{role} runs already, so its prompt was not given to it",
                hint=f"'moot attach {role}' to type it, or 'moot down {role}' first",
            )
        return TeamReport(self._launch().run([agent.role], prompt=prompt, may_log_in=False))

    def down(self, role: str | None = None) -> TeamReport:
        """End one agent, or all of them and whatever a killed 'moot up' left. Work stays: worktrees and branches."""
        running = self._runtime.agents()
        roles = [role] if role is not None else list(dict.fromkeys([*self._config.roles, *running]))
        if role is not None and role not in self._config.agents and role not in running:
            hint = near_match(role, self._config.agents) or f"the roles are {', '.join(self._config.roles)}"
            return TeamReport([RoleReport(role, NOT_RUNNING, self._runtime.label(role), "unknown role", hint)])
        reports = [self._each(one, self._stop) for one in roles]
        kept = self._runtime.close([]) if role is None else []
        return TeamReport(reports, kept)

    def status(self) -> TeamStatus:
        """Return what each agent does and what waits for a person; without the server its part is missing."""
        return StatusReport(self._config, self._runtime).collect()

    def compact(self, role: str | None = None) -> TeamReport:
        """Tell one agent, or all that run, to shorten their conversation.

        For one that waits for permission it fails: there, Enter would be an answer.
        """
        roles = self._config.roles if role is None else [self._config.agent(role).role]
        return TeamReport([self._each(one, self._compact) for one in roles])

    def attach(self, role: str) -> int:
        """Show an agent's terminal until the user detaches; start the agent first if it does not run.

        One that has ended is shown as it ended. Raises the error with which the start failed.
        """
        if role not in self._runtime.agents():
            self._config.agent(role)
            self._say(f"{self._runtime.label(role)} not running — launching...")
            report = self.exec(role).roles[0]
            if report.outcome == FAILED and role not in self._runtime.agents():
                raise Conflict(f"cannot start {role}: {report.message}", hint=report.hint)
        return self._runtime.attach(role)

    def detach(self, role: str) -> TeamReport:
        """Detach every terminal that shows an agent; the agent goes on."""
        if role not in self._runtime.agents():
            return TeamReport([RoleReport(role, NOT_RUNNING, self._runtime.label(role))])
        count = self._runtime.detach(role)
        return TeamReport([RoleReport(role, DETACHED, self._runtime.label(role))], terminals=count)

    def diff(self, role: str, *, apply: bool = False) -> HandedBack:
        """Return what an agent has changed in its bottle; with `apply`, also commit it to the branch of the role.

        Raises `InvalidRequest` for agents that are not in bottles, `NotFound` when the role has no bottle, and
        `Conflict` when the changes do not merge into the branch.
        """
        role = self._config.agent(role).role
        with role_lock(private_directory(self._config.root / ".moot" / "run"), role):
            return self._runtime.changes(role, hand_back=apply)

    def _launch(self) -> Launch:
        require_own_moot_folder(self._config.root)
        if self._runtime.name != self._config.runtime:
            raise Conflict(
                f"agents run with the runtime {self._runtime.name}, and moot.toml names {self._config.runtime}",
                hint="end them first: moot down",
            )
        record_runtime(self._config.root, self._runtime.name)
        return Launch(self._config, self._runtime, self._say)

    def _stop(self, role: str) -> str:
        with role_lock(private_directory(self._config.root / ".moot" / "run"), role):
            return STOPPED if self._runtime.stop(role) else NOT_RUNNING

    def _compact(self, role: str) -> str:
        found = self._runtime.agents().get(role)
        if found is None or not found.alive:
            return NOT_RUNNING
        harness = self._runtime.harness(self._config.agents[role].harness)
        if not harness.compact_command:
            hint = f"start the agent anew: 'moot down {role}', then 'moot exec {role}'"
            raise Conflict(f"{harness.name} has no command that shortens a conversation", hint=hint)
        self._runtime.type_command(role, harness, harness.compact_command)
        return SENT

    def _each(self, role: str, act: Callable[[str], str]) -> RoleReport:
        """Return the report of what `act` did; one role that fails does not stop the others."""
        try:
            return RoleReport(role, act(role), self._runtime.label(role))
        except (PyroError, OSError) as error:
            found = error if isinstance(error, PyroError) else own_error(error)
            return RoleReport(role, FAILED, self._runtime.label(role), found.message, found.hint)
