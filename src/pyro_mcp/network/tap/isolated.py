"""A tap in a network namespace that holds nothing else: `python -m pyro_mcp.network.tap.isolated`, for its starter."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from pyro_mcp.host import privileges
from pyro_mcp.network.channel.messages import ChannelClosed, send_message
from pyro_mcp.network.tap import tap_device


def main() -> None:
    """Send the tap's descriptor, or what went wrong; the namespace lasts as long as the descriptor."""
    starter = socket.socket(fileno=os.dup(0))
    with suppress(ChannelClosed):
        try:
            privileges.new_namespaces()
            privileges.new_network_namespace()
            send_message(starter, {}, [tap_device.open_tap()])
        except OSError as error:
            send_message(starter, {"error": str(error)})


if __name__ == "__main__":
    main()
