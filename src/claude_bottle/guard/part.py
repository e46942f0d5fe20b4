"""The base class of the guard's parts, and the values that each part gets."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_bottle.audit import Decision, DecisionKind
from claude_bottle.guard.approvals import Approvals
from claude_bottle.guard.bottle_journal import BottleJournal
from claude_bottle.guard.settings import GuardSettings
from pyro_mcp.errors import NotFound
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation
from pyro_mcp.results import NetworkLogEntry


@dataclass(frozen=True)
class Guarded:
    """The bottle of a guard, its private folder, the guards' database, its journal, and the bottle's requests."""

    settings: GuardSettings
    folder: Path
    database: Path
    journal: BottleJournal
    approvals: Approvals

    @property
    def slug(self) -> str:
        """The bottle's name."""
        return self.settings.slug

    @property
    def agent(self) -> str:
        """The agent's name in the manifest."""
        return self.settings.agent

    def record(
        self, kind: DecisionKind, decision: Decision, *, rule: str, what: Mapping[str, object], who: str = "policy"
    ) -> None:
        """Add a decision about the bottle to the journal; raises `PyroError` if that is impossible."""
        self.journal.add(kind, decision, rule=rule, what=what, who=who)

    @property
    def config(self) -> Mapping[str, Any]:
        """The bottle of the manifest as JSON, without its variables."""
        return self.settings.config


class Part:
    """A part of the guard. This base class decides nothing; each part overrides what it decides.

    `changed` and `close` are called from one thread each, the other methods from several at once. A method that raises
    an error refuses.
    """

    names: tuple[str, ...] = ()
    """The names of the guest that lead to this part."""

    def connect(self, name: str) -> socket.socket:
        """Return a connection for one of `names`; the caller closes it."""
        raise NotFound(f"nothing serves {name}")

    def refusal_advice(self, entry: NetworkLogEntry) -> str:
        """Return what the guest reads with a refusal of the gateway; "" for nothing."""
        return ""

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str:
        """Return why a secret may not be put into a request; "" if this part allows it."""
        return ""

    def model_request(self, request: ModelRequest) -> Reservation | ModelRefusal | None:
        """Decide on a metered request; None if this part does not meter."""
        return None

    def model_usage(self, reservation: str, usage: ModelUsage) -> None:
        """Take note of what a request to a model has used."""

    def changed(self) -> None:
        """Apply the approvals of this bottle, which have just changed; also called once at the start."""

    def close(self) -> None:
        """Release what the part holds; the guard is about to end."""
