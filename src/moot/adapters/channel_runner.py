"""`python -m moot.adapters.channel_runner`: the channel of the role that CONVO_ROLE names, over stdio."""

from __future__ import annotations

from moot.adapters.channel_adapter import ChannelAdapter
from moot.adapters.desk import Desk
from moot.adapters.program import run_adapter
from moot.adapters.stdio import serve_stdio


def serve(desk: Desk) -> int:
    """Serve until the client or a signal ends it; return the exit code."""
    return serve_stdio(lambda read, write: ChannelAdapter(desk).serve(read, write))


if __name__ == "__main__":
    run_adapter("channel", serve)
