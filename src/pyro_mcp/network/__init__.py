"""A machine's way out: a gateway of two processes, which decides and notes what the machine may reach.

The machine's tap device ends in a network namespace that leads nowhere; the gateway's inner half is alone there with
it, and gets each connection to the world from the outer half, which sees none of the machine's bytes.
"""

from __future__ import annotations

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS, RESOLVER_ADDRESS
from pyro_mcp.network.gateway.control import CONTROL, GatewayControl, GatewayInfo
from pyro_mcp.network.gateway.starting import StartingGateway, isolated_tap, starting_gateway
from pyro_mcp.network.http.authority import JAVA_PASSWORD, SUBJECT_HASH, Authority, host_roots, java_store
from pyro_mcp.network.policy.log import read_network_log
from pyro_mcp.network.policy.rules import HostSecret, Rules
from pyro_mcp.network.tap.problems import network_problems

__all__ = [
    "CONTROL",
    "GUEST_ADDRESS",
    "JAVA_PASSWORD",
    "RESOLVER_ADDRESS",
    "SUBJECT_HASH",
    "Authority",
    "GatewayControl",
    "GatewayInfo",
    "HostSecret",
    "Rules",
    "StartingGateway",
    "host_roots",
    "isolated_tap",
    "java_store",
    "network_problems",
    "read_network_log",
    "starting_gateway",
]
