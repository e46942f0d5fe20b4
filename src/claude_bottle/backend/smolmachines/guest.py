"""The inside of a machine of smolvm, as provisioning sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

HOME = "/root"
"""The home of the guest's only user: the virtual machine is the boundary, not a user inside it."""


class Smolvm(Protocol):
    """The part of the module `smolvm` that provisioning uses."""

    def machine_cp(self, src: str, dst: str, /) -> None: ...

    def machine_exec(self, name: str, argv: Sequence[str], /, *, stdin: bytes | None = None) -> bytes: ...


class SmolGuest:
    """A `Guest` over the command line of smolvm."""

    def __init__(self, smolvm: Smolvm, machine_name: str, *, home: str = HOME) -> None:
        self.home = home
        self._smolvm = smolvm
        self._name = machine_name

    def copy_in(self, source: str, target: str) -> None:
        """Copy a file or a folder of the host to `target`, which is its new name."""
        self._smolvm.machine_cp(source, f"{self._name}:{target}")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        """Run a program as root to its end and return its standard output."""
        if stdin:
            return self._smolvm.machine_exec(self._name, list(argv), stdin=stdin)
        return self._smolvm.machine_exec(self._name, list(argv))
