"""What machines may reach, and what they tried to."""

from __future__ import annotations

from typing import Literal, TypedDict

NetworkState = Literal["off", "up", "down"]


class PublishedPort(TypedDict):
    """A guest port as the host's 127.0.0.1 shows it."""

    host_port: int
    guest_port: int


class WorkspaceNetworkInfo(TypedDict):
    """A workspace's network as it is now."""

    workspace_id: str
    network_policy: str
    allow_hosts: list[str]
    state: NetworkState
    """`off` by policy; `down` while the workspace does not run, or when its gateway has died: then nothing passes."""
    guest_address: str | None
    resolver: str | None
    published_ports: list[PublishedPort]


class NetworkLogEntry(TypedDict):
    """One thing that a machine wanted to reach."""

    at: float
    verdict: Literal["allowed", "refused"]
    protocol: str
    name: str | None
    address: str | None
    port: int | None
    reason: str
    """Why it was refused; empty for what was allowed."""


class WorkspaceNetworkLog(TypedDict):
    """The newest entries, oldest first."""

    workspace_id: str
    count: int
    entries: list[NetworkLogEntry]
