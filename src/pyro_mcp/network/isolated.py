"""A tap in a network namespace that holds nothing else: `python -m pyro_mcp.network.isolated`, for its starter."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from pyro_mcp.network import rights, tap
from pyro_mcp.network.channel import ChannelClosed, send_message


def main() -> None:
    """Send the tap's descriptor, or what went wrong; the namespace lasts as long as the descriptor."""
    starter = socket.socket(fileno=os.dup(0))
    with suppress(ChannelClosed):
        try:
            rights.new_namespaces()
            rights.new_network_namespace()
            send_message(starter, {}, [tap.open_tap()])
        except OSError as error:
            send_message(starter, {"error": str(error)})


if __name__ == "__main__":
    main()
