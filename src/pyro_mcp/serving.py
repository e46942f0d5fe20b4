"""The options of the MCP server, as the SDK, `pyro mcp serve` and the entry in a chat host's settings carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Argument, Hint, option_name

RESULTS = ("text", "both")
NETWORK_POLICIES = ("off", "egress", "egress+published-ports")
HOSTS = ("claude-code", "codex", "opencode")
"""The chat hosts that can start our server."""
ACCELERATORS = ("auto", "kvm", "uml", "tcg")
PROFILES = ("vm-run", "workspace-core", "workspace-full")
MODES = ("repro-fix", "inspect", "cold-start", "review-eval")


class ServeKeywords(TypedDict, total=False):
    """The options beside the profile, as keywords; `ServeOptions` says what each means."""

    mode: str | None
    project_path: str | Path | None
    repo_url: str | None
    repo_ref: str | None
    no_project_source: bool
    results: str | None
    network_policy: str | None
    allow_hosts: Sequence[str]
    accelerator: str | None


@dataclass(frozen=True)
class ServeOptions:
    """Which tools a server offers, what its workspaces begin as and may reach, and in which form results come.

    `results` is "text" for models, or "both": with the data for programs. `network_policy` and `allow_hosts` are what a
    workspace has by default, and may have at most. `accelerator` is that of every machine, unless it is "auto": then a
    call may choose another one. Raises `InvalidRequest` for options that exclude each other.
    """

    profile: str | None = None
    mode: str | None = None
    project_path: str | Path | None = None
    repo_url: str | None = None
    repo_ref: str | None = None
    results: str | None = None
    network_policy: str | None = None
    allow_hosts: Sequence[str] = ()
    no_project_source: bool = False
    accelerator: str | None = None

    def __post_init__(self) -> None:
        if self.profile is not None and self.mode is not None:
            raise InvalidRequest(
                "a profile and a mode exclude each other",
                hint=Hint("give one of {} and {}", Argument("profile"), Argument("mode")),
            )
        if sum((self.project_path is not None, self.repo_url is not None, self.no_project_source)) > 1:
            raise InvalidRequest(
                "there can be only one project source",
                hint=Hint(
                    "give one of {}, {} and {}", *map(Argument, ("project_path", "repo_url", "no_project_source"))
                ),
            )
        if self.repo_ref is not None and self.repo_url is None:
            raise InvalidRequest(
                "a reference needs the repository that it is of", hint=Hint("give {} too", Argument("repo_url"))
            )
        if self.results not in (None, *RESULTS):
            raise InvalidRequest(f"there is no form of results {self.results!r}", hint=f"it is {' or '.join(RESULTS)}")
        if self.accelerator not in (None, *ACCELERATORS):
            raise InvalidRequest(
                f"there is no accelerator {self.accelerator!r}", hint=f"choose one of {', '.join(ACCELERATORS)}"
            )
        if self.allow_hosts and self.network_policy in (None, "off"):
            raise InvalidRequest(
                "hosts are allowed for workspaces without network",
                hint=Hint("add {}, or leave out the hosts", Argument("network_policy", "egress")),
            )

    def words(self) -> tuple[str, ...]:
        """Return the options as words of `pyro mcp serve`.

        Raises `InvalidRequest` for a project folder that does not exist.
        """
        words: list[str] = []
        for name, value in asdict(self).items():
            option = option_name(name)
            if value is True:
                words.append(option)
            elif name == "project_path" and value is not None:
                words.append(f"{option}={_folder(value)}")
            elif value:
                words += [f"{option}={one}" for one in ([value] if isinstance(value, str) else value)]
        return tuple(words)


def _folder(path: str | Path) -> str:
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder", hint="give the folder of a project that is on this host")
    return str(folder)
