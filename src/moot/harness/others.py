"""Harnesses that moot.toml may name and that cannot be launched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen
from moot.harness.interface import AgentSettings
from pyro_mcp.errors import InvalidRequest


class _NotLaunchable:
    name: str
    program: str
    install_hint = ""
    reports_state = False
    compact_command = ""
    clear_command = ""

    def check(self, agent: AgentSettings) -> None:
        self._refuse(agent)

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        pass  # `check` refuses it for everybody

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        self._refuse(agent)

    def variables(self, agent: AgentSettings, place: AgentPlace, *, permission_mode: str) -> Mapping[str, str]:
        self._refuse(agent)

    def seed(
        self,
        agent: AgentSettings,
        place: AgentPlace,
        files: PlaceFiles,
        *,
        environ: Mapping[str, str],
        permission_mode: str,
    ) -> None:
        self._refuse(agent)

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        return False

    def startup_key(self, screen: str) -> str:
        return ""

    def startup_question(self, screen: str) -> str:
        return ""

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        return None

    def inert(self, text: str) -> str:
        return text

    def _refuse(self, agent: AgentSettings) -> NoReturn:
        raise InvalidRequest(
            f"agents.{agent.role}.harness: {self.name} cannot be launched by moot",
            hint="choose claude-code, codex or opencode, or start the other roles with 'moot up --only ROLE,ROLE'",
        )


class Cursor(_NotLaunchable):
    """Cursor: an agent in its editor can use the MCP servers, but its terminal program has no hooks for its state."""

    name = program = "cursor"


class Aider(_NotLaunchable):
    """Aider, which has no MCP client."""

    name = program = "aider"
