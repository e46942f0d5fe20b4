"""The tools that show the network of a workspace."""

from __future__ import annotations

import time

from pyro_mcp.mcp_server.text import listed
from pyro_mcp.mcp_server.tool import ID, Tool, shape
from pyro_mcp.results import NetworkLogEntry, WorkspaceNetworkInfo, WorkspaceNetworkLog, shown_attempt, shown_entry


def _info(result: WorkspaceNetworkInfo) -> str:
    lines = [f"allowed: {shown_entry(host)}" for host in result["allow_hosts"]]
    lines += [
        f"published: 127.0.0.1:{port['host_port']} is port {port['guest_port']} of the guest"
        for port in result["published_ports"]
    ]
    return listed(f"{result['workspace_id']} has the network {result['network_policy']} ({result['state']}).", lines)


def _log(result: WorkspaceNetworkLog) -> str:
    return listed(f"{result['count']} network requests of {result['workspace_id']}:", [*map(_line, result["entries"])])


def _line(entry: NetworkLogEntry) -> str:
    reason = f" ({entry['reason']})" if entry["reason"] else ""
    at = time.strftime("%H:%M:%S", time.gmtime(entry["at"]))
    return f"{at} {entry['verdict']} {entry['protocol']} {shown_attempt(entry)}{reason}"


TOOLS = (
    Tool(
        "workspace_network_info",
        "Show the network of a workspace: its policy, the hosts it may reach, its published ports.",
        {"workspace_id": ID},
        ("workspace_id",),
        shape(WorkspaceNetworkInfo, "network_policy", "allow_hosts", "state", "published_ports"),
        lambda call: call.pyro.network_info_workspace(call.arguments["workspace_id"]),
        _info,
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "workspace_network_log",
        "Show what a workspace tried to reach, and why requests were refused; oldest first, times in UTC.",
        {"workspace_id": ID, "limit": {"type": "integer"}},
        ("workspace_id",),
        shape(WorkspaceNetworkLog, "count", "entries"),
        lambda call: call.pyro.network_log_workspace(call.arguments["workspace_id"], **call.given("limit")),
        _log,
        read_only=True,
        idempotent=True,
        rest="ask with a smaller limit",
    ),
)
