"""A real space server with a project whose roles have their keys, and the adapters as processes, for tests."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from moot.agents.tmux import socket_name
from moot.agents.tmux_socket import remove_dead_socket
from tests.moot.server.running import Client, Server, running


@dataclass
class Team:
    """A server, and a project folder of which each agent of the server is a role."""

    server: Server
    project: Path
    keys: dict[str, str]
    ids: dict[str, str]
    space: str

    def environment(self, role: str, **more: str) -> dict[str, str]:
        """Return the environment of a role's adapters."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "CONVO_ROLE": role, "PYTHONPATH": os.pathsep.join(sys.path), **more}

    def client(self, role: str) -> Client:
        return Client(self.server.port, self.keys[role])

    def run_folder(self, role: str) -> Path:
        return self.project / ".moot/run" / role

    def post(self, role: str, text: str, **more: Any) -> dict[str, Any]:
        """Post a message of a role, or of the person."""
        client = self.server.person if role == "person" else self.client(role)
        mentions = [self.ids[one] for one in more.pop("to", ())]
        body = {"text": text, "metadata": {"mentions": mentions, **more.pop("metadata", {})}, **more}
        found: dict[str, Any] = client.post(f"/api/spaces/{self.space}/events", body)
        return found

    @asynccontextmanager
    async def tools(self, role: str, **more: str) -> AsyncIterator[ClientSession]:
        """Yield a client of the role's MCP server over stdio."""
        words = ["-P", "-m", "moot.adapters.mcp_runner"]
        given = StdioServerParameters(
            command=sys.executable, args=words, env=self.environment(role, **more), cwd=self.project
        )
        async with stdio_client(given) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session


@contextmanager
def team(folder: Path) -> Iterator[Team]:
    """Yield a team on a server that has just been started."""
    with running(folder) as server:
        project = folder / "project"
        (project / ".moot").mkdir(parents=True, mode=0o700)
        found = {name.lower(): client for name, client in server.agents().items()}
        space = server.space()
        ids = {role: str(client.get("/api/actors/me")["actor_id"]) for role, client in found.items()}
        for client in found.values():
            client.post(f"/api/spaces/{space}/join", {})
        keys = {role: client.key for role, client in found.items()}
        actors = {role: {"actor_id": ids[role], "api_key": keys[role], "display_name": role.title()} for role in found}
        url = f"http://127.0.0.1:{server.port}"
        document = {"space_id": space, "space_name": "Home", "api_url": url, "actors": actors}
        path = project / ".moot/actors.json"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        ids["person"] = str(server.person.get("/api/actors/me")["actor_id"])
        yield Team(server, project, keys, ids, space)
        remove_dead_socket(socket_name(str(project)))


def text_of(result: Any) -> str:
    """Return the text of a tool's result."""
    return "\n".join(one.text for one in result.content)


def in_time(work: Any, seconds: float = 60.0) -> Any:
    """Run a coroutine, at most so long."""
    return asyncio.run(asyncio.wait_for(work, seconds))
