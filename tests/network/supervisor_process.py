"""A supervisor in a process of its own, for tests that kill it: `python -m tests.network.supervisor_process PATH`.

It prints "here" when it listens, and "ended" when its gateway has ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyro_mcp.network import listen_for_gateway, serve_supervisor
from tests.network.recording_supervisor import RecordingSupervisor


def main(path: Path) -> None:
    with listen_for_gateway(path) as listener:
        print("here", flush=True)  # noqa: T201
        channel, _ = listener.accept()
        serve_supervisor(channel, RecordingSupervisor()).wait()
        print("ended", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
