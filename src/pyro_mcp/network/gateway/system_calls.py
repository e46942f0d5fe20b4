"""The system calls that the processes of a gateway may make once they serve, found by tracing them in all tests."""

from __future__ import annotations

import errno
import socket
from functools import cache

from pyro_mcp.host.confinement import LIMITED, READ_ONLY, SERVING
from pyro_mcp.host.seccomp import Check, When, allow_list, any_of

# For the resolver's files, and the log.
_POLICY = "access bind faccessat faccessat2 flock ftruncate lstat newfstatat readlink readlinkat sendmmsg stat statx"
_RELAY = "newfstatat"

_POLICY_SOCKETS = any_of(0, [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK], errno.EAFNOSUPPORT)
_RELAY_SOCKETS = When([[Check(0, socket.AF_INET), Check(1, socket.SOCK_STREAM, mask=0xFF)]], errno.EAFNOSUPPORT)


@cache
def policy_filter() -> bytes:
    """Return the filter for the policy process: it connects and reads files, but creates none and starts no program."""
    rules = {**LIMITED, "openat": READ_ONLY, "socket": _POLICY_SOCKETS}
    return allow_list([*SERVING.split(), *_POLICY.split()], rules)


@cache
def relay_filter() -> bytes:
    """Return the filter for the relay process: it relays, and connects to the guest by TCP, but opens no file."""
    return allow_list([*SERVING.split(), *_RELAY.split()], {**LIMITED, "socket": _RELAY_SOCKETS})
