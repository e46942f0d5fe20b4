"""A process in place of a guest, in network and mount namespaces of its own.

`python -m tests.network.simulated_guest FOLDER [TAP]`, with the tap's descriptor; without one it stands for a
container, whose interface the gateway makes. Each line of input is a JSON list, a program to run; each line of output
is a JSON object with its exit code and output.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from pyro_mcp.network.addressing.addresses import GUEST_ADDRESS, RESOLVER_ADDRESS
from pyro_mcp.network.devices.interfaces import GUEST_DEVICE
from pyro_mcp.network.devices.tap import open_tap

_FRAME = 70_000


def copy(source: int, sink: int) -> None:
    os.set_blocking(source, True)
    while frame := os.read(source, _FRAME):
        try:
            os.write(sink, frame)
        except OSError:
            continue  # its device is down: the frame is lost


def connect(gateway_tap: int) -> None:
    """Copy the frames of a device of our own to and from the gateway's tap."""
    own_tap = open_tap()
    for words in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{GUEST_ADDRESS}/24", "dev", GUEST_DEVICE],
        ["link", "set", GUEST_DEVICE, "up"],
        ["route", "add", "default", "via", "10.0.2.2"],
    ):
        subprocess.run(["ip", *words], check=True)
    for ends in ((gateway_tap, own_tap), (own_tap, gateway_tap)):
        threading.Thread(target=copy, args=ends, daemon=True).start()


def main() -> None:
    for tap in sys.argv[2:]:
        connect(int(tap))
    resolver = Path(sys.argv[1], "resolv.conf")
    resolver.write_text(f"nameserver {RESOLVER_ADDRESS}\noptions timeout:3 attempts:1\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        done = subprocess.run(json.loads(line), capture_output=True, text=True, timeout=60, check=False)
        print(json.dumps({"code": done.returncode, "out": done.stdout, "err": done.stderr}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
