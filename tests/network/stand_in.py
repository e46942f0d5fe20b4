"""Stands in for a machine, in a network namespace of its own: its device's frames go to and from the gateway's tap.

The tap's descriptor is its argument. Each line of input is a JSON list, a program to run in that network; each answer
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
from pyro_mcp.network.tap import tap_device

_FRAME = 70_000


def copy(source: int, sink: int) -> None:
    os.set_blocking(source, True)
    while frame := os.read(source, _FRAME):
        try:
            os.write(sink, frame)
        except OSError:
            continue  # its device is down: the frame is lost


def main() -> None:
    outside = int(sys.argv[1])
    inside = tap_device.open_tap()
    for words in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{GUEST_ADDRESS}/24", "dev", tap_device.TAP],
        ["link", "set", tap_device.TAP, "up"],
        ["route", "add", "default", "via", "10.0.2.2"],
    ):
        subprocess.run(["ip", *words], check=True)
    for ends in ((outside, inside), (inside, outside)):
        threading.Thread(target=copy, args=ends, daemon=True).start()
    resolver = Path(sys.argv[2], "resolv.conf")
    resolver.write_text(f"nameserver {RESOLVER_ADDRESS}\noptions timeout:3 attempts:1\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        done = subprocess.run(json.loads(line), capture_output=True, text=True, timeout=60, check=False)
        print(json.dumps({"code": done.returncode, "out": done.stdout, "err": done.stderr}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
