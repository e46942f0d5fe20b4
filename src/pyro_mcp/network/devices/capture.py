"""Delivery of every packet of the guest to the sockets of one process."""

from __future__ import annotations

import ipaddress

from pyro_mcp.host.process import run
from pyro_mcp.network.addressing.addresses import GATEWAY_ADDRESS, GUEST_ADDRESS
from pyro_mcp.network.addressing.routes import LOCAL, UNICAST, add_route
from pyro_mcp.network.devices.interfaces import GUEST_DEVICE, set_address, set_up

_NFT_DEADLINE = 10.0


def configure_device() -> None:
    """Give the guest's device the gateway's address, and make all other addresses local to this namespace.

    Whatever the guest sends is then delivered here and goes nowhere else. Raises `OSError`.
    """
    set_address(GUEST_DEVICE, GATEWAY_ADDRESS, "255.255.255.255")  # a wider mask would make neighbours not local
    set_up("lo")
    set_up(GUEST_DEVICE)
    add_route(ipaddress.IPv4Network("0.0.0.0/0"), "lo", LOCAL)
    add_route(ipaddress.IPv4Network(GUEST_ADDRESS), GUEST_DEVICE, UNICAST)


def redirect(tcp_port: int, udp_port: int) -> None:
    """Redirect every TCP connection and UDP datagram of the guest to two local ports; drop everything else."""
    run(["nft", "-f", "-"], deadline_seconds=_NFT_DEADLINE, stdin=_RULES.format(tcp=tcp_port, udp=udp_port).encode())


_RULES = f"""
table inet gateway {{{{
    chain arriving {{{{
        type filter hook prerouting priority mangle; policy drop;
        iifname != "{GUEST_DEVICE}" drop
        ip saddr != {GUEST_ADDRESS} drop
        ip daddr {GATEWAY_ADDRESS} meta l4proto tcp socket transparent 0 accept
        meta nfproto ipv4 meta l4proto tcp tproxy ip to :{{tcp}} accept
        meta nfproto ipv4 meta l4proto udp tproxy ip to :{{udp}} accept
        meta nfproto ipv4 meta l4proto icmp icmp type echo-request ip daddr {GATEWAY_ADDRESS} accept
    }}}}
    chain forwarded {{{{
        type filter hook forward priority filter; policy drop;
    }}}}
    chain leaving {{{{
        type filter hook output priority filter; policy drop;
        oifname "{GUEST_DEVICE}" ip daddr {GUEST_ADDRESS} accept
    }}}}
}}}}
"""
