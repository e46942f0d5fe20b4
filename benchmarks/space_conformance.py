"""Run schemathesis on the space server's OpenAPI document, and Autobahn's test suite on its WebSockets.

    .venv/bin/python -m benchmarks.space_conformance [--schemathesis PROGRAM] [--wstest PROGRAM]

Both programs have environments of their own: `pip install schemathesis`, and, with Python 2.7, `pip install
autobahntestsuite`. Autobahn wants its messages back, which a space does not do: so a program that sends them back runs
in the protocol and with the settings of the server. Its cases of limits (9), whose messages are larger than the server
takes, and of compression (12, 13), which is off, are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from moot.server.api.serving import SOCKET_OPTIONS
from tests.moot.server.running import running
from tests.waiting import until

_SECONDS = 900


def main(words: list[str]) -> int:
    """Run the programs that are given; return 1 when one of them has found something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemathesis", metavar="PROGRAM")
    parser.add_argument("--wstest", metavar="PROGRAM")
    given = parser.parse_args(words)
    results = [schemathesis(given.schemathesis)] if given.schemathesis else []
    results += [autobahn(given.wstest)] if given.wstest else []
    return max(results, default=0)


def schemathesis(program: str) -> int:
    """Call each operation with valid and invalid values; return 1 for an answer that the document does not have."""
    with tempfile.TemporaryDirectory(prefix="space-openapi-") as folder, running(Path(folder)) as server:
        server.agents()
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        argv = [program, "run", f"http://127.0.0.1:{server.port}/openapi.json", "--checks", checks]
        argv += ["-H", f"Authorization: Bearer {server.token}", "--rate-limit", "150/s", "--continue-on-failure"]
        argv += ["--max-examples", "30", "--seed", "1", "--no-color"]
        # A stream does not end; a token that is revoked may be the one of the test.
        argv += ["--exclude-path-regex", "stream$|personal-access-tokens"]
        return min(1, subprocess.run(argv, cwd=folder, timeout=_SECONDS, check=False).returncode)


def autobahn(program: str) -> int:
    """Run the cases of Autobahn; return 1 when one has failed."""
    with tempfile.TemporaryDirectory(prefix="space-websocket-") as folder, _echo() as port:
        servers = [{"agent": "moot", "url": f"ws://127.0.0.1:{port}/", "options": {"version": 18}}]
        excluded = {"cases": ["*"], "exclude-cases": ["9.*", "12.*", "13.*"], "exclude-agent-cases": {}}
        spec = Path(folder) / "spec.json"
        spec.write_text(json.dumps({"outdir": f"{folder}/reports", "servers": servers, **excluded}))
        argv = [program, "-m", "fuzzingclient", "-s", str(spec)]
        subprocess.run(argv, cwd=folder, timeout=_SECONDS, check=True, stdout=subprocess.DEVNULL)
        cases = json.loads((Path(folder) / "reports/index.json").read_text())["moot"]
    failed = {name: one for name, one in cases.items() if "FAILED" in (one["behavior"], one["behaviorClose"])}
    print(f"Autobahn: {len(cases)} cases: {dict(Counter(one['behavior'] for one in cases.values()))}; {failed or ''}")
    return 1 if failed else 0


@contextmanager
def _echo() -> Iterator[int]:
    """Yield the port of a program that sends each message back."""
    app = Starlette(routes=[WebSocketRoute("/", _send_back)])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", **SOCKET_OPTIONS))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            until("the program serves", lambda: server.started)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


async def _send_back(connection: WebSocket) -> None:
    await connection.accept()
    try:
        while (message := await connection.receive())["type"] != "websocket.disconnect":
            await connection.send({**message, "type": "websocket.send"})
    except (WebSocketDisconnect, RuntimeError):
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
