"""The folders and files that machines own on the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.host.files import private_directory


@dataclass(frozen=True)
class Folders:
    """The folders and files that machines own on the host."""

    state: Path

    @property
    def machines(self) -> Path:
        """The folder that holds the home of each machine."""
        return self.state / "machines"

    def home(self, id_: str) -> Path:
        return self.machines / id_

    def sockets(self, id_: str) -> Path:
        """Return the folder of a machine's sockets: in its home, so that it does not depend on XDG_RUNTIME_DIR."""
        return self.home(id_) / "sockets"

    def baseline(self, id_: str) -> Path:
        """Return the path of the EROFS image that /workspace began with; no file for one that began empty."""
        return self.home(id_) / "baseline.erofs"

    def network_log(self, id_: str) -> Path:
        return self.home(id_) / "network.log"

    def lock(self, id_: str) -> Path:
        """Return the lock file that a process holds alone to change the machine, or shared to use it."""
        return private_directory(self.state / "locks") / id_

    def turnstile(self, id_: str) -> Path:
        """Return the lock file that a process holds while it waits for `lock`."""
        return self.lock(f"{id_}.turn")

    def freeze(self, id_: str) -> Path:
        """Return the lock file that a process holds to add a layer to the machine's disk."""
        return self.lock(f"{id_}.freeze")
