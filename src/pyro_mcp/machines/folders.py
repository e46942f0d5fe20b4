"""Where machines keep what they own on the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.host.files import private_directory


@dataclass(frozen=True)
class Folders:
    """Where machines keep what they own on the host."""

    state: Path

    @property
    def machines(self) -> Path:
        """Holds the home of each machine."""
        return self.state / "machines"

    def home(self, id_: str) -> Path:
        return self.machines / id_

    def sockets(self, id_: str) -> Path:
        """The folder of a machine's sockets: in its home, where nobody loses it who has other XDG folders."""
        return self.home(id_) / "sockets"

    def baseline(self, id_: str) -> Path:
        """The EROFS image of what /workspace began with; none for one that began empty."""
        return self.home(id_) / "baseline.erofs"

    def network_log(self, id_: str) -> Path:
        return self.home(id_) / "network.log"

    def lock(self, id_: str) -> Path:
        """Held by whoever changes the machine, shared by those who use it."""
        return private_directory(self.state / "locks") / id_

    def turnstile(self, id_: str) -> Path:
        """Held while waiting for `lock`."""
        return self.lock(f"{id_}.turn")

    def freeze(self, id_: str) -> Path:
        """Held by whoever adds a layer to the machine's disk."""
        return self.lock(f"{id_}.freeze")
