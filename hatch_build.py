"""Compiles the guest agent when a wheel is built, so that an installed pyro needs no compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class AgentBuildHook(BuildHookInterface[BuilderConfig]):
    """Puts `pyro-agent` beside the engine's modules, for a wheel and for an editable installation alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the agent and mark the wheel as one for Linux on x86-64; raises `CalledProcessError`."""
        root = Path(self.root)
        agent = root / "src" / "pyro_mcp" / "engine" / "pyro-agent"
        fresh = agent.with_name("pyro-agent.new")
        subprocess.run([root / "guest" / "build", fresh], check=True, stdin=subprocess.DEVNULL, timeout=300)
        fresh.replace(agent)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
