"""A starter of a supervised gateway, for tests that kill it: `python -m tests.network.starter_process FOLDER STEP`.

It prints "here" when it has come to the step, and waits: "spawned", "ready" or "attached".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pyro_mcp.network import Rules, launch_gateway


def main(folder: Path, step: str) -> None:
    with launch_gateway(folder / "sockets", folder / "log", Rules(), supervisor=folder / "supervisor") as gateway:
        if step != "spawned":
            gateway.wait_until_ready()
        if step == "attached":
            gateway.attach(folder / "lifetime")
        print("here", flush=True)  # noqa: T201
        time.sleep(120)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
