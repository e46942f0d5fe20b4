"""Control of a running gateway."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import Conflict, InvalidRequest
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.sockets import connect
from pyro_mcp.network.channel.messages import ChannelClosed, Message, receive_message, send_message

CONTROL = "network"
"""The file name of the control socket."""
_DEADLINE = 10.0


@dataclass(frozen=True)
class GatewayInfo:
    """The process ids of a gateway, and its published ports: pairs of host port and guest port."""

    policy_pid: int
    relay_pid: int
    ports: tuple[tuple[int, int], ...]


class GatewayControl:
    """The gateway that was started with `folder`. Calls raise `Conflict` when it does not run."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CONTROL

    def info(self) -> GatewayInfo:
        """Return its present state, the ports in the order of the host's."""
        found = self._request({"do": "info"})
        ports = tuple((host, guest) for host, guest in found["ports"])
        return GatewayInfo(found["policy_pid"], found["relay_pid"], ports)

    def publish(self, host_port: int | None, guest_port: int) -> int:
        """Publish a guest port on 127.0.0.1, at `host_port` or any free port; return the port. Raises `Conflict`."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(listener, host_port or 0)
            listener.listen(128)
            reply = self._request({"do": "publish", "guest_port": guest_port}, [listener.fileno()])
        return int(reply["host_port"])

    def unpublish(self, host_port: int) -> None:
        """Close a published port and the connections over it; raises `Conflict` when it is not published."""
        self._request({"do": "unpublish", "host_port": host_port})

    def watch(self, host_ports: Sequence[int], lifetimes: Sequence[int]) -> None:
        """Close these ports as soon as the first of the descriptors `lifetimes` is readable; the gateway keeps copies.

        Raises `Conflict` when too many ports are watched.
        """
        self._request({"do": "watch", "host_ports": list(host_ports)}, lifetimes)

    def wait_for_end(self, deadline_seconds: float) -> bool:
        """Wait until the gateway has ended; return False if it still runs at the deadline."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            try:
                connect(sock, self._path)
            except OSError:
                return True
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(deadline_seconds * 1000))

    def _request(self, message: Message, descriptors: Sequence[int] = ()) -> Message:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(_DEADLINE)
            try:
                connect(sock, self._path)
                send_message(sock, message, descriptors)
                reply, _ = receive_message(sock)
            except (OSError, ChannelClosed) as error:
                raise Conflict(
                    "the network gateway has stopped, so there is no network",
                    hint="stop the workspace and start it again",
                ) from error
        if "error" in reply:
            raise Conflict(str(reply["error"]), hint=Hint("{} shows what is published", Verb("workspace network info")))
        return reply


def _bind(listener: socket.socket, host_port: int) -> None:
    try:
        listener.bind(("127.0.0.1", host_port))
    except OverflowError as error:
        raise InvalidRequest(f"{host_port} is not a port", hint="it is 1–65535") from error
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "is taken" if error.errno == errno.EADDRINUSE else "may not be opened by this user"
            raise Conflict(
                f"port {host_port} of 127.0.0.1 {reason}", hint="choose another port, or leave it out to get any"
            ) from error
        raise Conflict(f"no port can be opened: {os.strerror(error.errno or 0)}") from error
