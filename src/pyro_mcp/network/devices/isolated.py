"""A tap alone in a network namespace: `python -m pyro_mcp.network.devices.isolated`, started by `isolated_tap`."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from pyro_mcp.host import privileges
from pyro_mcp.network.channel.messages import ChannelClosed, send_message
from pyro_mcp.network.devices.tap import open_tap


def main() -> None:
    """Send the tap's descriptor, or the error; the namespace lasts as long as the descriptor."""
    starter = socket.socket(fileno=os.dup(0))
    with suppress(ChannelClosed):
        try:
            privileges.new_namespaces()
            privileges.new_network_namespace()
            send_message(starter, {}, [open_tap()])
        except OSError as error:
            send_message(starter, {"error": str(error)})


if __name__ == "__main__":
    main()
