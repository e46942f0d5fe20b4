"""A veth pair: one end in the gateway's network namespace, the other in a container's."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct

from pyro_mcp.errors import HostNotReady
from pyro_mcp.host import privileges
from pyro_mcp.network.addressing import netlink
from pyro_mcp.network.addressing.addresses import GATEWAY_ADDRESS, GUEST_ADDRESS
from pyro_mcp.network.addressing.routes import add_default_route
from pyro_mcp.network.devices.interfaces import GUEST_DEVICE, other_interfaces, set_address, set_up

CONTAINER_DEVICE = "eth0"
"""The container's end."""
_NEW_LINK, _CREATE_NEW = 16, 0x0605  # RTM_NEWLINK; NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
_NAME, _LINK_INFO, _NAMESPACE = 3, 18, 28  # IFLA_IFNAME, IFLA_LINKINFO, IFLA_NET_NS_FD
_KIND, _DATA, _PEER = 1, 2, 1  # IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER
_HEADER = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)  # struct ifinfomsg


def connect_namespace(namespace: int) -> None:
    """Connect the network namespace `namespace` (a descriptor) to this one, and make it use this one for everything.

    Its end gets the guest's address and the default route. Raises `HostNotReady` when it has another interface already,
    by which a program could bypass the gateway, and when this process may not change it; otherwise `OSError`.
    """
    ours = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _require_no_interfaces(namespace)
        privileges.join_network_namespace(ours)
        _create_pair(namespace)
        privileges.join_network_namespace(namespace)
        set_up("lo")
        set_address(CONTAINER_DEVICE, GUEST_ADDRESS, "255.255.255.0")
        set_up(CONTAINER_DEVICE)
        add_default_route(ipaddress.IPv4Address(GATEWAY_ADDRESS), CONTAINER_DEVICE)
        privileges.join_network_namespace(ours)
    finally:
        os.close(ours)


def _require_no_interfaces(namespace: int) -> None:
    try:
        privileges.join_network_namespace(namespace)
    except PermissionError as error:
        raise HostNotReady(str(error), hint="run as root; only root may add a device to the namespace") from error
    if names := other_interfaces():
        raise HostNotReady(
            f"the network namespace has interfaces of its own: {', '.join(names)}",
            hint="start the container without a network (docker run --network none)",
        )


def _create_pair(namespace: int) -> None:
    peer = _HEADER + _name(CONTAINER_DEVICE) + netlink.attribute(_NAMESPACE, struct.pack("=I", namespace))
    kind = netlink.attribute(_KIND, b"veth")
    info = netlink.attribute(_LINK_INFO, kind + netlink.attribute(_DATA, netlink.attribute(_PEER, peer)))
    netlink.request(_NEW_LINK, _CREATE_NEW, _HEADER + _name(GUEST_DEVICE) + info)


def _name(device: str) -> bytes:
    return netlink.attribute(_NAME, device.encode() + b"\0")
