"""The MCP server of a role over HTTP: on loopback, for whoever has the token."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.moot.adapters.team import Team, in_time, text_of

TOKEN = "a-token-of-this-test-and-no-other"  # noqa: S105


def test_a_client_with_the_token_calls_tools_over_http(workshop: Team, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    token_file.chmod(0o600)
    words = [sys.executable, "-P", "-m", "moot.adapters.mcp_runner", "--transport", "http", "--port", "0"]
    argv = [*words, "--token-file", str(token_file)]
    environment = {**workshop.environment("spec"), "PYTHONUNBUFFERED": "1"}

    async def work(url: str) -> str:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx2.AsyncClient(headers=headers, trust_env=False) as client,
            streamable_http_client(url, http_client=client) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            return text_of(await session.call_tool("whoami", {}))

    with subprocess.Popen(argv, cwd=workshop.project, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"serving (http://127\.0\.0\.1:\d+/mcp)\n", process.stdout.readline())
            assert found is not None
            refused = httpx2.post(found[1], json={}, headers={"Authorization": "Bearer wrong"}, trust_env=False)
            assert refused.status_code == 401
            assert workshop.ids["spec"] in in_time(work(found[1]))
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
