"""The log of what a guest tried to reach: a file of bounded size, one JSON object per line."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from pyro_mcp.network.addressing.host_names import shown_name
from pyro_mcp.network.policy.allow_list import Upstream
from pyro_mcp.results import NetworkLogEntry

MOST_BYTES = 1024 * 1024
_KEPT_BYTES = MOST_BYTES // 2
_MOST_PER_SECOND = 100
_LATER = {"upstream": None, "method": None, "path": None}  # fields that older versions did not write


def open_log(path: Path) -> int:
    """Return a descriptor of the log at `path`, created with mode 0600; the caller closes it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class NetworkLog:
    """The log in the open file `descriptor`; when it is full its older half is dropped, and a flood is only counted."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._second, self._written, self._dropped = 0, 0, 0

    def add(self, verdict: Literal["allowed", "refused"], attempt: Attempt, reason: str = "") -> None:
        """Append one entry; a full disk loses the entry, and changes no verdict."""
        with self._lock:
            now = time.time()
            if int(now) != self._second:
                dropped, self._second, self._written, self._dropped = self._dropped, int(now), 0, 0
                if dropped:
                    flood = f"{dropped} more within one second were not logged"
                    self._append(log_entry("refused", Attempt("any"), flood, now))
            if self._written >= _MOST_PER_SECOND:
                self._dropped += 1
                return
            self._written += 1
            self._append(log_entry(verdict, attempt, reason, now))

    def _append(self, entry: NetworkLogEntry) -> None:
        line = json.dumps(entry).encode("ascii") + b"\n"
        try:
            with _locked(self._descriptor, fcntl.LOCK_EX):
                if os.fstat(self._descriptor).st_size + len(line) > MOST_BYTES:
                    self._halve()
                os.write(self._descriptor, line)
        except OSError:
            self._dropped += 1

    def _halve(self) -> None:
        size = os.fstat(self._descriptor).st_size
        kept = os.pread(self._descriptor, _KEPT_BYTES, max(0, size - _KEPT_BYTES))
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, kept.partition(b"\n")[2])


@dataclass(frozen=True)
class Attempt:
    """An attempt of a guest: protocol, name as the guest gave it, address, port; of an HTTP request method and path.

    `upstream` is what the name leads to instead of its own server.
    """

    protocol: str
    name: str | None = None
    address: str | None = None
    port: int | None = None
    method: str | None = None
    path: str | None = None
    upstream: Upstream | None = None


def log_entry(
    verdict: Literal["allowed", "refused"], attempt: Attempt, reason: str = "", now: float | None = None
) -> NetworkLogEntry:
    """Return the entry for an attempt at the time `now`, by default the present."""
    return {
        "at": round(time.time() if now is None else now, 3),
        "verdict": verdict,
        "protocol": attempt.protocol,
        "name": None if attempt.name is None else shown_name(attempt.name),
        "address": attempt.address,
        "port": attempt.port,
        "upstream": f"127.0.0.1:{attempt.upstream}" if isinstance(attempt.upstream, int) else attempt.upstream,
        "method": attempt.method,
        "path": attempt.path,
        "reason": reason,
    }


@contextmanager
def _locked(descriptor: int, kind: int) -> Iterator[None]:
    fcntl.flock(descriptor, kind)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def read_network_log(path: Path, limit: int) -> list[NetworkLogEntry]:
    """Return the newest `limit` entries of the log at `path`, oldest first; none if there is no log."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        with _locked(descriptor, fcntl.LOCK_SH):
            data = os.pread(descriptor, MOST_BYTES, 0)
    finally:
        os.close(descriptor)
    lines = data.splitlines()[-limit:] if limit > 0 else []
    return [entry for line in lines if (entry := _read(line)) is not None]


def _read(line: bytes) -> NetworkLogEntry | None:
    """Return an entry; None for a line that a full disk has truncated."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return cast(NetworkLogEntry, {**_LATER, **entry}) if isinstance(entry, dict) and "verdict" in entry else None
