"""Launch a bottle on a host whose own networks have the addresses that guests see; print what an agent reached.

To be run in a network namespace: `python -m tests.bottles.colliding_subnets BACKEND ENVIRONMENT`, in the folder of a
project. The host serves HTTP on each of these addresses, on a port that the agent is not allowed to reach.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from claude_bottle.bottles import Bottles
from claude_bottle.manifest import LoadedManifest, Manifest
from tests.bottles.trusting import host
from tests.waiting import until

COLLIDING = ("10.0.2.2/24", "10.0.2.3/24", "10.0.2.15/24", "198.18.0.1/15", "172.17.0.1/16")
PORT = 8099
OF_HOST = "a-service-of-the-host"
NAME = "allowed.example.com"
_ASK = """
import sys, urllib.request
for url in sys.argv[1:]:
    try:
        print(url, urllib.request.urlopen(url, timeout=10).read().decode())
    except OSError as error:
        print(url, "failed", error)
print("the end")
"""


class OwnService(BaseHTTPRequestHandler):
    """A service of the host on all its addresses."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(OF_HOST.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main(backend: str, environment: str) -> None:
    addresses = " && ".join(f"ip address add {one} dev here" for one in COLLIDING)
    setup = f"ip link set lo up && ip link add here type veth peer name there && ip link set here up && {addresses}"
    subprocess.run(["sh", "-euc", setup], check=True, timeout=30)
    service = ThreadingHTTPServer(("0.0.0.0", PORT), OwnService)  # noqa: S104 - of a namespace without a way out
    threading.Thread(target=service.serve_forever, daemon=True).start()
    urls = [f"http://{one.partition('/')[0]}:{PORT}/" for one in COLLIDING]
    with host() as upstream:
        agent = {"bottle": "b", "harness": ["python3", "-c", _ASK, f"https://{NAME}/", *urls]}
        bottle = {"environment": environment, "egress": [{"host": NAME, "upstream": upstream}]}
        manifest = Manifest.from_json_obj({"bottles": {"b": bottle}, "agents": {"dev": agent}})
        loaded = LoadedManifest(manifest=manifest, levels={}, digests={}, settings=())
        bottles = Bottles(folder=Path.cwd(), manifest=loaded)
        slugs = [bottles.run("dev", backend=backend)["slug"] for _ in range(2)]  # two have the same addresses too
        try:
            shown = [_output(bottles, slug) for slug in slugs]
        finally:
            bottles.stop_all()
    service.shutdown()
    print(json.dumps(shown))  # noqa: T201 - it is what the test reads


def _output(bottles: Bottles, slug: str) -> str:
    return until(
        "the agent has asked",
        lambda: bottles.logs(slug)["output"],
        lambda text: "the end" in text,
        deadline_seconds=90,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
