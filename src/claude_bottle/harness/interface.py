"""The protocol of a harness: its command line, its files, its model's API, and how it reports its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from claude_bottle.backend.interface import Inside

if TYPE_CHECKING:
    from claude_bottle.manifest import AgentConfig


@dataclass(frozen=True)
class HarnessKey:
    """The API key that a harness takes from `variable` and sends to `hosts` in the header field `header`."""

    variable: str
    hosts: tuple[str, ...]
    header: str = "Authorization"


@dataclass(frozen=True)
class LoginFile:
    """A file of a login: a JSON object at `path` below the home; only its `keys` belong to the login, () for all."""

    path: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class HarnessLogin:
    """A harness's subscription login: its files, that with the tokens first, and the hosts that it needs at port 443.

    The hosts begin and renew the login, or serve the model to those who are logged in.
    """

    files: tuple[LoginFile, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GuestPaths:
    """The paths of the guest, and the agent's variables (secrets as placeholders), for a harness's files."""

    home: str
    tree: str
    prompt_path: str | None
    environ: Mapping[str, str] = field(default_factory=dict)
    mcp_url: str | None = None
    """The address of the guard's MCP server; None where the agent may ask for nothing."""
    metered: bool = False
    """Whether a budget counts the requests to its model; then tools that the API runs without a limit are refused."""


class Harness(Protocol):
    """One agent program."""

    name: str
    api_hosts: tuple[str, ...]
    """The hosts of its model's API, which every bottle with this harness may reach at port 443."""
    key: HarnessKey | None
    login: HarnessLogin | None
    """Its subscription login; None when it has none that can be kept."""

    def argv(self, agent: AgentConfig, args: Sequence[str], *, prompt_path: str | None) -> list[str]:
        """Return the command line; `args` are added to the arguments in the manifest."""

    def variables(self, agent: AgentConfig) -> Mapping[str, str]:
        """Return the environment variables that it is started with."""

    def files(self, agent: AgentConfig, guest: GuestPaths) -> Mapping[str, str]:
        """Return the settings that it needs in the guest: path → text."""

    def links(self, guest: GuestPaths) -> Mapping[str, str]:
        """Return the symbolic links that it needs in the guest: path → target."""

    def state(self, bottle: Inside) -> str:
        """Return what the agent does: "running", "idle" or "waiting for permission"; "running" when unknown."""
