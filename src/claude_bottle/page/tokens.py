"""Single-use tokens: each allows one decision about one request, until that request's own end.

A token is `ID.SECRET`. The database has the hash of the secret, so nobody can decide with what is in it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from claude_bottle.database import Database, Version
from claude_bottle.results import RequestInfo
from pyro_mcp.host.files import private_directory, state_home

Decision = Literal["approve", "deny"]

_FORM = re.compile(r"([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_VERSIONS: tuple[Version, ...] = (
    (
        """CREATE TABLE tokens (
            id TEXT PRIMARY KEY, hash TEXT NOT NULL, reference TEXT NOT NULL, digest TEXT NOT NULL,
            decision TEXT NOT NULL, expires_at REAL NOT NULL, used_at REAL)""",
    ),
)


@dataclass(frozen=True)
class Permit:
    """What a token allows: one decision about the request `reference`, whose rule and policy have this digest."""

    id: str
    reference: str
    digest: str
    decision: Decision

    def is_for(self, request: RequestInfo) -> bool:
        """Return whether a request is the one that the token was made for, with the same digest."""
        same = hmac.compare_digest(self.digest, request["digest"])
        return same and hmac.compare_digest(self.reference, request["reference"])


def tokens_path() -> Path:
    """Return the path of the database of tokens, in a private folder."""
    return private_directory(state_home("claude-bottle") / "page") / "tokens.db"


class Tokens:
    """The tokens in the database at `path`; `now` is the clock. Raises `PyroError`."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._database = Database(
            path, _VERSIONS, what="the database of the page's tokens", loses="the links that were sent to persons"
        )
        self._now = now

    def close(self) -> None:
        self._database.close()

    def issue(self, request: RequestInfo, decision: Decision) -> str:
        """Return a new token for one decision about a request; forgets those that have expired."""
        name, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = (name, _hash(secret), request["reference"], request["digest"], decision, request["expires_at"])
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM tokens WHERE expires_at <= ?", (self._now(),))
            connection.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return f"{name}.{secret}"

    def find(self, token: str) -> Permit | None:
        """Return what a token allows now; None for one that is forged, used or expired."""
        form = _FORM.fullmatch(token)
        if form is None:
            return None
        rows = self._database.rows("SELECT * FROM tokens WHERE id = ?", form[1])
        known = str(rows[0]["hash"]) if rows else _hash("")
        # The hash is compared also if there is no such id, so that both take the same time.
        if not hmac.compare_digest(known, _hash(form[2])) or not rows:
            return None
        row = rows[0]
        if row["used_at"] is not None or row["expires_at"] <= self._now():
            return None
        return Permit(form[1], str(row["reference"]), str(row["digest"]), row["decision"])

    def use(self, permit: Permit) -> bool:
        """Use a token up; return False if another request was faster, or its time is over."""
        now = self._now()
        with self._database.transaction() as connection:
            query = "UPDATE tokens SET used_at = ? WHERE id = ? AND used_at IS NULL AND expires_at > ?"
            return connection.execute(query, (now, permit.id, now)).rowcount == 1


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
