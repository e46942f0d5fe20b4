"""Compiles our C when a wheel is built, so that an installed pyro needs no compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUILT = {
    "pyro-agent": ["guest/build", "agent"],
    "pyro-tool": ["guest/build", "tool"],
    "pyro-session": ["guest/build", "session"],
    "readonly-ram.so": ["cage/build", "readonly-ram"],
    "pyro-confine": ["cage/build", "confine"],
    "pyro-lifetime": ["cage/build", "lifetime"],
    "pyro-devices": ["cage/build", "devices"],
}
"""What is built beside the engine's modules, and the script and its arguments that build it."""


class NativeBuildHook(BuildHookInterface[BuilderConfig]):
    """Puts what `BUILT` names in its place, for a wheel and for an editable installation alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build all of it and mark the wheel as one for Linux on x86-64; raises `CalledProcessError`."""
        root = Path(self.root)
        for name, (script, *arguments) in BUILT.items():
            target = root / "src" / "pyro_mcp" / "engine" / name
            fresh = target.with_name(f"{name}.new")
            subprocess.run([root / script, *arguments, fresh], check=True, stdin=subprocess.DEVNULL, timeout=300)
            fresh.replace(target)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
