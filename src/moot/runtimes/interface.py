"""The protocol of a runtime: the places of a team's agents, and how an agent is started, seen and ended there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from moot.agents.place import AgentPlace, PlaceFiles
from moot.bottled.work import HandedBack
from moot.harness import Harness


@dataclass(frozen=True, kw_only=True)
class AgentStart:
    """How the agent of a role is started: the harness's command line, and variables that are on no command line."""

    role: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[str, ...] = ()
    notify_environment: Mapping[str, str] = field(default_factory=dict)
    colour: str | None = None


@dataclass(frozen=True)
class AgentProcess:
    """What is left of a start: a running agent, or one that ended, with its exit code (-n after signal n) if known.

    `notify_alive` is None where there is no program that pushes messages.
    """

    role: str
    alive: bool
    exit_code: int | None = None
    notify_alive: bool | None = None


@dataclass(frozen=True)
class Kept:
    """Something that is left on purpose when a team ends: the folder where it is, or the id of a container."""

    what: Literal["worktree", "changes", "container"]
    where: str
    branch: str = ""


class Watch(Protocol):
    """A watch on one agent."""

    def wait(self, seconds: float) -> None:
        """Return when the agent's terminal or run folder has changed, or after `seconds`; it may return early."""


class Runtime(Protocol):
    """One place where agents of a team run. Methods raise errors of `pyro_mcp.errors`."""

    name: str
    files: PlaceFiles
    """The files of the agents' place; its home is that of `place`."""

    def check(self) -> list[tuple[str, str, str]]:
        """Return what this runtime needs: (what, what was found or "", what to do when it is missing or "")."""

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make what all agents share, such as a container. Called once before agents start; may take minutes."""

    def harness(self, name: str) -> Harness:
        """Return the harness of that name, as agents run here. Raises `InvalidRequest`."""

    def has_program(self, name: str) -> bool:
        """Return whether an agent would find this program in its PATH; called after `prepare`."""

    def is_root(self) -> bool:
        """Return whether agents run as root, outside of what confines them; called after `prepare`."""

    def label(self, role: str) -> str:
        """Return the name of the role's session or machine, for a person."""

    def place(self, role: str) -> AgentPlace:
        """Return the paths of a role; nothing is made."""

    def environment(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Return the whole environment of a program that is started with these variables, as far as it is known."""

    def make_place(self, role: str) -> AgentPlace:
        """Make the worktree and the run folder of a role, or find them again; what agents left there stays."""

    def start(self, start: AgentStart) -> None:
        """Start the agent of a role in its place. Raises `Conflict` when it is there already, dead or alive."""

    def agents(self) -> dict[str, AgentProcess]:
        """Return the agents that were started and not stopped, also those that have ended, by role."""

    def watch(self, role: str) -> AbstractContextManager[Watch]:
        """Watch the agent's terminal and run folder while the block runs."""

    def screen(self, role: str) -> str:
        """Return the text on the agent's terminal. Raises `NotFound` when it was not started."""

    def press(self, role: str, key: str) -> None:
        """Press a key by its name in tmux, such as Enter."""

    def type_command(self, role: str, harness: Harness, words: str) -> None:
        """Type a command at the agent's prompt. Raises `Conflict` (`moot.agents.prompt`)."""

    def attach(self, role: str) -> int:
        """Show the agent's terminal in ours until the user detaches; return an exit code."""

    def detach(self, role: str) -> int:
        """Detach every terminal that shows the agent; return how many there were."""

    def changes(self, role: str, *, hand_back: bool) -> HandedBack:
        """Return what an agent has changed in a tree that is not on this host; with `hand_back`, also commit it to the
        branch of the role. Raises `InvalidRequest` where agents work in worktrees of this host."""

    def stop(self, role: str) -> bool:
        """End the agent, the program that pushes messages, and every process they started; return whether there was
        one. Work stays; what a killed launch left of this role is removed."""

    def close(self, roles: Sequence[str]) -> list[Kept]:
        """Remove what is left of any launch but the agents of `roles`; return what is kept."""
