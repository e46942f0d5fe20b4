"""Chat hosts, and how they stand with our server."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

ChatHostOutcome: TypeAlias = Literal["added", "replaced", "unchanged", "removed", "absent"]
ChatHostStatus: TypeAlias = Literal["connected", "not-connected", "not-installed", "trouble"]
ChatHostProblemCode: TypeAlias = Literal[
    "host-missing",
    "settings",
    "other-server",
    "other-program",
    "environment",
    "disabled",
    "hidden",
    "program-missing",
    "server-dead",
]


class ChatHostChange(TypedDict):
    """What became of an entry in a host's list of servers."""

    host: str
    name: str
    outcome: ChatHostOutcome
    settings: str
    """The file that the list is in."""
    command: list[str] | None
    environment: dict[str, str]
    tool_count: int | None
    """How many tools the server listed when it was tried; None where none was started."""
    allowed: bool
    """Whether the host uses the server's tools without asking its user each time."""


class ChatHostConfig(TypedDict):
    """What a person would write into a host's settings."""

    host: str
    program: str | None
    """The host's program; None where it is not installed."""
    settings: str
    config: str


class ChatHostProblem(TypedDict):
    """One reason why a host does not use our server as it should."""

    code: ChatHostProblemCode
    message: str
    hint: str


class ChatHostServer(TypedDict):
    """What an entry's server said when it was started and greeted."""

    name: str
    version: str
    tool_count: int
    answered_ms: float


class ChatHostReport(TypedDict):
    """How one host stands with our server."""

    host: str
    title: str
    program: str | None
    version: str
    settings: str
    name: str
    command: list[str] | None
    environment: dict[str, str]
    status: ChatHostStatus
    problems: list[ChatHostProblem]
    server: ChatHostServer | None


class ChatHostDoctor(TypedDict):
    """How all hosts stand; `ready` when at least one is connected and none is in trouble."""

    ready: bool
    hosts: list[ChatHostReport]
