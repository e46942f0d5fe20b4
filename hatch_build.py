"""Compiles our C and the User-Mode Linux kernel when a wheel is built, so that an installed pyro needs no compiler."""

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
    "wait-for-space.so": ["cage/build", "wait-for-space"],
    "pyro-confine": ["cage/build", "confine"],
    "pyro-lifetime": ["cage/build", "lifetime"],
    "pyro-devices": ["cage/build", "devices"],
}
"""What is built beside the engine's modules, and the script and its arguments that build it."""
KERNEL = "pyro-kernel"
_KERNEL_SECONDS = 3600


class NativeBuildHook(BuildHookInterface[BuilderConfig]):
    """Puts what `BUILT` names in its place, for a wheel and for an editable installation alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build all of it and mark the wheel as one for Linux on x86-64; raises `CalledProcessError`.

        An editable installation leaves the kernel, which takes minutes, to `make`. A wheel goes without it, with a
        warning, where it cannot be built: its machines run with KVM or emulated.
        """
        root = Path(self.root)
        for name, (script, *arguments) in BUILT.items():
            target = root / "src" / "pyro_mcp" / "engine" / name
            fresh = target.with_name(f"{name}.new")
            subprocess.run([root / script, *arguments, fresh], check=True, stdin=subprocess.DEVNULL, timeout=300)
            fresh.replace(target)
        if version == "standard":
            self._make_kernel(root)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"

    def _make_kernel(self, root: Path) -> None:
        target = root / "src" / "pyro_mcp" / "engine" / KERNEL
        script = [root / "scripts" / "uml-kernel", target]
        done = subprocess.run(script, check=False, stdin=subprocess.DEVNULL, timeout=_KERNEL_SECONDS)
        if done.returncode != 0:
            for left in (target, target.with_name(f"{KERNEL}.origin")):
                left.unlink(missing_ok=True)  # of another recipe
            self.app.display_warning(f"this wheel has no {KERNEL}; {script[0]} says why above")
