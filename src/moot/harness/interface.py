"""The protocol of a harness: how it is started, what it finds prepared, and how its screen is read.

A harness describes; the runtime of a team carries out, on this host or in a container (`moot.agents.place`).

    harness = harness_named(agent.harness)
    harness.check(agent)                               # raises before anything is made
    harness.seed(agent, place, files)
    argv = harness.argv(agent, place, prompt="Begin.", permission_mode=permission_mode)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from moot.agents.place import AgentPlace, PlaceFiles
from moot.agents.screen import Screen

UNATTENDED_MODES = ("auto", "bypassPermissions", "dontAsk")
TOOLS_SERVER, CHANNEL_SERVER = "convo", "convo-channel"
"""The names of the two MCP servers of each agent, which skills, hooks and the flag for channels use."""
_MODULES = {TOOLS_SERVER: "moot.adapters.mcp_runner", CHANNEL_SERVER: "moot.adapters.channel_runner"}


class AgentSettings(Protocol):
    """The part of moot.toml about one agent that a harness needs."""

    @property
    def role(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def effort(self) -> str | None: ...
    @property
    def model_reasoning_effort(self) -> str | None: ...


class Harness(Protocol):
    """One agent program."""

    name: str
    """Its name in moot.toml."""
    program: str
    """The program that must be in PATH where the agent runs."""
    install_hint: str
    reports_state: bool
    """Whether its hooks write the state file."""
    compact_command: str
    """The words, typed by a person, that make it shorten its conversation; "" for none."""
    clear_command: str
    """The words that make it forget its conversation; "" for none."""

    def check(self, agent: AgentSettings) -> None:
        """Raise `InvalidRequest` when this harness cannot be launched, or not with the model of moot.toml."""

    def check_root(self, permission_mode: str, environ: Mapping[str, str]) -> None:
        """Raise `HostNotReady` when the program refuses to work for root in this mode, with these variables."""

    def argv(self, agent: AgentSettings, place: AgentPlace, *, prompt: str, permission_mode: str) -> list[str]:
        """Return the whole command line; it holds no key. An empty prompt is left out."""

    def variables(self, agent: AgentSettings, place: AgentPlace, *, permission_mode: str) -> Mapping[str, str]:
        """Return the variables that the program needs beside those of the pane."""

    def seed(
        self,
        agent: AgentSettings,
        place: AgentPlace,
        files: PlaceFiles,
        *,
        environ: Mapping[str, str],
        permission_mode: str,
    ) -> None:
        """Write the files of the launch, and answer in the user's files what a first start in this tree would ask.

        `environ` is what the program will find in its environment. Seed the agents of a team before the first of them
        starts: a running harness writes the user's files too.
        """

    def logged_in(self, place: AgentPlace, files: PlaceFiles, *, environ: Mapping[str, str]) -> bool:
        """Return whether the program reaches its model without asking a person to log in."""

    def startup_key(self, screen: str) -> str:
        """Return the tmux key that answers the start-up dialog on this screen; "" when it shows none of ours."""

    def startup_question(self, screen: str) -> str:
        """Return what a start-up dialog on this screen asks a person, such as "whether …"; "" when there is none."""

    def prompt_is_empty(self, screen: Screen) -> bool | None:
        """Return whether nothing is typed at the prompt, which has the focus (`PromptReader`)."""

    def inert(self, text: str) -> str:
        """Return a text of somebody else with nothing that is a command in a prompt of this harness."""


def server_commands(place: AgentPlace) -> dict[str, list[str]]:
    """Return the commands of an agent's MCP servers by name."""
    return {name: [place.python, "-P", "-m", module] for name, module in _MODULES.items()}


def server_variables(place: AgentPlace) -> dict[str, str]:
    """Return what the MCP servers need to know; they find the rest, and the key, by the role."""
    return {"CONVO_ROLE": place.role, "CONVO_WORKTREE": place.tree}


def hook_command(place: AgentPlace, event: str) -> list[str]:
    """Return the command of a hook of the launch."""
    return [place.python, "-P", "-m", "moot.hooks", event, place.run_folder]
