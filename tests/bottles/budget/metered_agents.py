"""Real agents on this host, whose scripted model is behind the metered proxy and a real budget."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from claude_bottle.budget.budget import Budget
from pyro_mcp.network.http.http_proxy import HttpProxy, Site
from pyro_mcp.network.http.metered import Meter
from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.network.metering.values import Api
from pyro_mcp.redaction import Mask
from tests.chat_hosts.model_api import Model, served
from tests.style.project import ROOT

_HOSTS = ROOT / "build/hosts/node_modules"
_SECONDS = 180


@dataclass(frozen=True)
class Agent:
    """One agent: the API that it speaks, its model, its tool for commands, and how it is started for one turn."""

    name: str
    api: Api
    model: str
    tool: str
    argument: str
    program: Path

    def run(self, folder: Path, address: str) -> subprocess.CompletedProcess[str]:
        """Run one turn in `folder` with a home of its own; its model is at `address`."""
        home = folder / "home"
        home.mkdir()
        words, variables = getattr(self, f"_{self.name}")(home, address)
        environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "dumb", **variables}
        return subprocess.run(
            [str(self.program), *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def _claude(self, _: Path, address: str) -> tuple[list[str], Mapping[str, str]]:
        variables = {
            "ANTHROPIC_BASE_URL": address,
            "ANTHROPIC_API_KEY": "key",
            "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        return ["--dangerously-skip-permissions", "--model", self.model, "-p", "do it"], variables

    def _codex(self, home: Path, address: str) -> tuple[list[str], Mapping[str, str]]:
        provider = {"name": "OpenAI", "base_url": f"{address}/v1", "env_key": "OPENAI_API_KEY", "wire_api": "responses"}
        lines = [f'model = "{self.model}"', 'model_provider = "bottle"', "check_for_update_on_startup = false"]
        lines += ['web_search = "disabled"', "[analytics]", "enabled = false", "[model_providers.bottle]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in provider.items()]
        (home / ".codex").mkdir()
        (home / ".codex/config.toml").write_text("\n".join(lines) + "\n")
        words = ["exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "do it"]
        return words, {"OPENAI_API_KEY": "key"}

    def _opencode(self, home: Path, address: str) -> tuple[list[str], Mapping[str, str]]:
        options = {"baseURL": f"{address}/v1", "apiKey": "key"}
        model = f"anthropic/{self.model}"
        settings = {"model": model, "small_model": model, "permission": {"*": "allow"}, "autoupdate": False}
        folder = home / ".config/opencode"
        (folder / "node_modules").mkdir(parents=True)  # else it installs a package from a registry
        installed = {"packages": {"": {"dependencies": {"@opencode-ai/plugin": "*"}}}}
        (folder / "package-lock.json").write_text(json.dumps(installed))
        (folder / "opencode.json").write_text(json.dumps({**settings, "provider": {"anthropic": {"options": options}}}))
        variables = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
        return ["run", "do it"], {**variables, "OPENCODE_DISABLE_LSP_DOWNLOAD": "1"}


_CLAUDE = _HOSTS / "@anthropic-ai/claude-code-linux-x64/claude"
_CODEX = _HOSTS / "@openai/codex/vendor/x86_64-unknown-linux-musl/bin/codex"
_OPENCODE = _HOSTS / "opencode-linux-x64-baseline/bin/opencode"
AGENTS = (
    Agent("claude", "anthropic", "claude-sonnet-4-5", "Bash", "command", _CLAUDE),
    Agent("codex", "openai", "gpt-5", "exec_command", "cmd", _CODEX),
    Agent("opencode", "anthropic", "claude-sonnet-4-5", "bash", "command", _OPENCODE),
)


@contextmanager
def metered(model: Model, api: Api, budget: Budget) -> Iterator[str]:
    """Serve the model behind the metered proxy; yields the proxy's address."""
    with socket.create_server(("127.0.0.1", 0)) as behind, socket.create_server(("127.0.0.1", 0)) as front:
        port = front.getsockname()[1]
        with served(model, behind):
            site = Site("localhost", port, (), Mask({}), (), lambda *_: "", Meter(api, budget))

            def serve(line: socket.socket) -> None:
                guest = PlainSocket(line)
                with suppress(OSError):
                    HttpProxy(
                        guest, site, lambda: PlainSocket(socket.create_connection(behind.getsockname(), 10))
                    ).run()
                guest.close(linger=True)

            def accept() -> None:
                with suppress(OSError):  # it is closed
                    while True:
                        threading.Thread(target=serve, args=(front.accept()[0],), daemon=True).start()

            accepting = threading.Thread(target=accept, daemon=True)
            accepting.start()
            yield f"http://localhost:{port}"
            front.shutdown(socket.SHUT_RDWR)
            accepting.join(10)


def missing() -> str:
    """Return why the agents cannot run; "" when they can."""
    absent = [agent.name for agent in AGENTS if not os.access(agent.program, os.X_OK)]
    return f"there is no {', '.join(absent)}: 'make setup-test' gets them" if absent else ""
