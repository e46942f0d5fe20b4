"""Any command as an agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from claude_bottle.backend.interface import Inside
from claude_bottle.harness.agent_state import read_state
from claude_bottle.harness.interface import GuestPaths, HarnessKey, HarnessLogin

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig


class AnyCommand:
    """A command of the manifest. It gets its prompt's path and its model as variables, and reaches only its `egress`.

    It may report its state as the hooks of the others do: by a word in the file `.claude-bottle-state` in its home.
    """

    api_hosts: tuple[str, ...] = ()
    key: HarnessKey | None = None
    login: HarnessLogin | None = None

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self.name = self._command[0]

    def argv(self, agent: AgentConfig, args: Sequence[str], *, prompt_path: str | None) -> list[str]:
        named = [] if prompt_path is None else ["env", f"CLAUDE_BOTTLE_PROMPT_FILE={prompt_path}"]
        return [*named, *self._command, *agent.args, *args]

    def variables(self, agent: AgentConfig) -> Mapping[str, str]:
        return {} if agent.model is None else {"CLAUDE_BOTTLE_MODEL": agent.model}

    def files(self, agent: AgentConfig, guest: GuestPaths) -> Mapping[str, str]:
        return {}

    def links(self, guest: GuestPaths) -> Mapping[str, str]:
        return {}

    def state(self, bottle: Inside) -> str:
        return read_state(bottle)
