"""Speaking to the gateway of a running machine."""

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
"""The name of the control socket in the folder of a machine's sockets."""
_DEADLINE = 10.0


@dataclass(frozen=True)
class GatewayInfo:
    """The two processes of a gateway, and its published ports: host port, guest port."""

    outer_pid: int
    inner_pid: int
    ports: tuple[tuple[int, int], ...]


class GatewayControl:
    """The gateway of the machine whose sockets are in `folder`. Calls raise `Conflict` when it does not run."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CONTROL

    def info(self) -> GatewayInfo:
        """What is so now."""
        found = self._ask({"do": "info"})
        return GatewayInfo(
            found["outer_pid"], found["inner_pid"], tuple((host, guest) for host, guest in found["ports"])
        )

    def published(self) -> list[tuple[int, int]]:
        """Host and guest port of each published port, in the order of the former."""
        return list(self.info().ports)

    def publish(self, host_port: int | None, guest_port: int) -> int:
        """Show a guest port on 127.0.0.1, at `host_port` or any free one; returns which. Raises `Conflict`."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(listener, host_port or 0)
            listener.listen(128)
            reply = self._ask({"do": "publish", "guest_port": guest_port}, [listener.fileno()])
        return int(reply["host_port"])

    def unpublish(self, host_port: int) -> None:
        """Close a published port and the connections over it; raises `Conflict` when it is not published."""
        self._ask({"do": "unpublish", "host_port": host_port})

    def watch(self, host_ports: Sequence[int], lives: Sequence[int]) -> None:
        """Close these ports as soon as the first of the descriptors `lives` is readable; the gateway keeps copies.

        Raises `Conflict` when too many are watched.
        """
        self._ask({"do": "watch", "host_ports": list(host_ports)}, lives)

    def ended(self, deadline_seconds: float) -> bool:
        """Wait until the gateway is gone; whether it is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
            try:
                connect(line, self._path)
            except OSError:
                return True
            poll = select.poll()
            poll.register(line, select.POLLIN)
            return bool(poll.poll(deadline_seconds * 1000))

    def _ask(self, message: Message, descriptors: Sequence[int] = ()) -> Message:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(_DEADLINE)
            try:
                connect(line, self._path)
                send_message(line, message, descriptors)
                reply, _ = receive_message(line)
            except (OSError, ChannelClosed) as error:
                raise Conflict(
                    "the machine's network gateway does not run, so it has no network",
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
            why = "is taken" if error.errno == errno.EADDRINUSE else "is not yours to use"
            raise Conflict(
                f"port {host_port} of 127.0.0.1 {why}", hint="choose another, or none and take any"
            ) from error
        raise Conflict(f"no port can be opened: {os.strerror(error.errno or 0)}") from error
