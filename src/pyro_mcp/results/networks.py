"""What machines may reach, and what they tried to."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class AllowEntry(TypedDict):
    """An entry of an allow list that says more than its host."""

    host: str
    """`NAME` or `NAME:PORT`."""
    methods: NotRequired[list[str]]
    """The methods of the HTTP requests that are allowed; all without it."""
    paths: NotRequired[list[str]]
    """The paths that are allowed; `*` at the end stands for all that follows, elsewhere for a part without `/`."""
    upstream: NotRequired[str]
    """The port of this host that the name leads to: `http://127.0.0.1:PORT`."""


NetworkState = Literal["off", "up", "down"]


def shown_entry(entry: str | AllowEntry) -> str:
    """Return an entry of an allow list as one line for people."""
    if isinstance(entry, str):
        return entry
    words = [",".join(entry.get("methods", [])), entry["host"], *entry.get("paths", [])]
    words += ["->", entry["upstream"]] if "upstream" in entry else []
    return " ".join(word for word in words if word)


class PublishedPort(TypedDict):
    """A guest port as the host's 127.0.0.1 shows it."""

    host_port: int
    guest_port: int


class WorkspaceNetworkInfo(TypedDict):
    """A workspace's network as it is now."""

    workspace_id: str
    network_policy: str
    allow_hosts: list[str | AllowEntry]
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
    upstream: str | None
    """The address and port of this host that the name leads to when its entry has an upstream, or "supervisor"."""
    method: str | None
    """Of an HTTP request that the gateway has read: its method, and its path without the query."""
    path: str | None
    reason: str
    """Why it was refused; empty for what was allowed."""


def shown_attempt(entry: NetworkLogEntry) -> str:
    """Return what an entry of the log was for, as one line for people; its texts are the guest's."""
    place = entry["name"] or entry["address"] or "-"
    where = place if entry["port"] is None else f"{place}:{entry['port']}"
    words = [entry["method"] or "", f"{where}{entry['path'] or ''}"]
    words += ["->", entry["upstream"]] if entry["upstream"] else []
    return " ".join(word for word in words if word)


class WorkspaceNetworkLog(TypedDict):
    """The newest entries, oldest first."""

    workspace_id: str
    count: int
    entries: list[NetworkLogEntry]
