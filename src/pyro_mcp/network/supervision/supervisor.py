"""The interface of a supervisor, which a program implements for a gateway."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Protocol

from pyro_mcp.network.metering.values import ModelSupervisor
from pyro_mcp.results import NetworkLogEntry


@dataclass(frozen=True)
class Refusal:
    """The refusal of a connection; the guest reads the reason."""

    reason: str


class Supervisor(ModelSupervisor, Protocol):
    """A supervisor of one gateway. Its methods are called from several threads.

    If a method raises, the gateway refuses, and the guest reads that there was no decision.
    """

    def decided(self, entry: NetworkLogEntry) -> str:
        """Record a decision of the gateway; for a refusal, return a text that the guest reads with the reason.

        An allowed connection or request begins after this returns. Raise `Conflict` to refuse it: the guest reads the
        message. A flood of refusals is not recorded one by one:
        the reason of an entry with the protocol "any" has their number.
        """
        ...

    def connect(self, name: str) -> socket.socket | Refusal:
        """Return a connected stream socket for a connection to a name with the upstream "supervisor".

        The caller closes the socket.
        """
        ...

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        """Return "" if the secret of this name may be put into this request, otherwise why not."""
        ...
