"""The record of a gateway's decisions: its log, and its supervisor where it has one."""

from __future__ import annotations

import socket
import threading
import time
from typing import Protocol

from pyro_mcp.host.token_bucket import TokenBucket
from pyro_mcp.network.policy.log import Attempt, NetworkLog, log_entry
from pyro_mcp.network.policy.refused import Refused
from pyro_mcp.results import NetworkLogEntry

_MOST_AT_ONCE = 64
_PER_SECOND = 1.0
_MOST_OPEN = 4
_COUNT_SECONDS = 2.0


class Supervising(Protocol):
    """A supervisor, from the side of the gateway: see `Supervisor`. The methods raise `Refused` without an answer."""

    def decided(self, entry: NetworkLogEntry) -> str: ...

    def secret_use(self, secret: str, host: str, method: str, path: str) -> str: ...

    def connect(self, name: str) -> socket.socket: ...


class DecisionRecord:
    """The record of decisions in `log`, and at `supervisor` if there is one.

    The supervisor records every allowed connection and request. It records refusals up to a limit, so that a guest can
    neither fill its record nor occupy it; further refusals are counted.
    """

    def __init__(self, log: NetworkLog, supervisor: Supervising | None = None) -> None:
        self._log = log
        self._supervisor = supervisor
        self._lock = threading.Lock()
        self._rate = TokenBucket(_MOST_AT_ONCE, _PER_SECOND)
        self._open = threading.BoundedSemaphore(_MOST_OPEN)
        self._counted, self._is_counting = 0, False

    def allow(self, attempt: Attempt) -> None:
        """Let the supervisor record what is about to begin; an exception forbids it."""
        if self._supervisor is not None:
            self._supervisor.decided(log_entry("allowed", attempt))

    def begun(self, attempt: Attempt, problem: str = "") -> None:
        """Log what has begun, or the problem that prevented it."""
        self._log.add("allowed", attempt, problem)

    def refused(self, attempt: Attempt, reason: str) -> str:
        """Record a refusal; return the supervisor's text for the guest, "" for none."""
        self._log.add("refused", attempt, reason)
        if self._supervisor is None or not self._may_record():
            return ""
        try:
            return self._supervisor.decided(log_entry("refused", attempt, reason))
        finally:
            self._open.release()

    def _may_record(self) -> bool:
        """Return whether one more refusal may be recorded, whose slot the caller releases; count it otherwise."""
        with self._lock:
            if self._open.acquire(blocking=False):
                if self._rate.take():
                    return True
                self._open.release()
            self._counted += 1
            starts = not self._is_counting
            self._is_counting = True
        if starts:
            threading.Thread(target=self._record_counts, daemon=True).start()
        return False

    def _record_counts(self) -> None:
        """Record the number of refusals that were not recorded one by one, until there are no more."""
        assert self._supervisor is not None
        while True:
            time.sleep(_COUNT_SECONDS)
            with self._lock:
                count, self._counted = self._counted, 0
                self._is_counting = count > 0
            if not count:
                return
            reason = f"{count} more refusals were not recorded one by one"
            try:
                self._supervisor.decided(log_entry("refused", Attempt("any"), reason))
            except Refused:
                with self._lock:
                    self._counted += count
