"""The User-Mode Linux kernel, built in the background while `make demo` does other work."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

KERNEL = Path("src/pyro_mcp/engine/pyro-kernel")
LOG = Path("build/uml-kernel.log")
_SCRIPT = "scripts/uml-kernel"


class KernelBuild:
    """A running `scripts/uml-kernel`: it takes the kernel from the user's cache, or builds it in some minutes."""

    def __init__(self, kernel: Path = KERNEL, *, log: Path = LOG) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # A session of its own, so that `stop` ends the compilers too, and Ctrl-C here reaches them only by `stop`.
            self._process = subprocess.Popen(
                ["nice", "--adjustment=19", _SCRIPT, str(kernel)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._log = log

    def wait(self, seconds: float) -> bool | None:
        """Return whether the kernel was made; None when it is not done after so many seconds."""
        try:
            return self._process.wait(max(seconds, 0)) == 0
        except subprocess.TimeoutExpired:
            return None

    def problem(self) -> str:
        """Return the last line that the script printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def stop(self) -> None:
        """End the build if it still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=10)
