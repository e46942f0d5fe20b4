"""Requests of agents for more than their bottle allows, and the decisions of persons about them.

A request is for one exact rule, and is bound to the bottle's policy at that time. It is pending until a person decides,
its time is over, or its bottle ends:

    pending ──> approved   a person allowed it; it holds until `granted_until`, or until it is spent
           ├──> denied     a person refused it
           ├──> expired    nobody decided in time
           ├──> void       a person allowed it, but the policy has changed, so nothing is allowed
           └──> ended      its bottle ended first, however it ended

An approval that is in effect becomes void when the policy changes. No other change is possible, and each is made in one
transaction that looks at the present state first.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from claude_bottle.database import Database, Version
from pyro_mcp.errors import Conflict, InvalidRequest, NotFound, TooManyRequests

RequestState = Literal["pending", "approved", "denied", "expired", "void", "ended"]

MOST_PENDING = 16
MOST_IN_WINDOW = 60
MOST_OF_LAUNCH = 1000
WINDOW_SECONDS = 600.0
LONGEST_REASON = 1000
LARGEST_RULE = 16 * 1024
_KEPT_SECONDS = 30 * 24 * 3600.0
_DIGEST_SHOWN = 8
_ID = re.compile(r"r([0-9]{1,9})", re.ASCII)
_REFERENCE = re.compile(rf"{_ID.pattern}-([0-9a-f]{{{_DIGEST_SHOWN}}})", re.ASCII)

_VERSIONS: tuple[Version, ...] = (
    (
        """CREATE TABLE requests (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            guard TEXT NOT NULL, slug TEXT NOT NULL, bottle TEXT NOT NULL, agent TEXT NOT NULL,
            kind TEXT NOT NULL, rule TEXT NOT NULL, digest TEXT NOT NULL, policy TEXT NOT NULL,
            reason TEXT NOT NULL, asked_by TEXT NOT NULL,
            asked_at REAL NOT NULL, expires_at REAL NOT NULL, grant_seconds REAL NOT NULL,
            state TEXT NOT NULL DEFAULT 'pending',
            decided_at REAL, decided_by TEXT NOT NULL DEFAULT '', granted_until REAL, spent_at REAL)""",
        "CREATE INDEX requests_of_guard ON requests (guard, state)",
        "CREATE INDEX requests_by_state ON requests (state)",
        """CREATE TABLE excess (
            guard TEXT PRIMARY KEY, slug TEXT NOT NULL, count INTEGER NOT NULL, last_at REAL NOT NULL)""",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request; `rule`, `reason` and `agent` are text of strangers. Times are seconds since 1970."""

    number: int
    guard: str
    slug: str
    bottle: str
    agent: str
    kind: str
    rule: Mapping[str, object]
    digest: str
    policy: str
    reason: str
    asked_by: str
    asked_at: float
    expires_at: float
    grant_seconds: float
    state: RequestState
    decided_at: float | None = None
    decided_by: str = ""
    granted_until: float | None = None
    spent_at: float | None = None

    @property
    def id(self) -> str:
        """Its name for the agent, which is not enough to approve it."""
        return f"r{self.number}"

    @property
    def reference(self) -> str:
        """Its name for a person: it binds the rule and the policy that the person saw."""
        return f"{self.id}-{self.digest[:_DIGEST_SHOWN]}"

    def allows(self, now: float) -> bool:
        """Return whether it is an approval that is in effect at `now`."""
        return self.state == "approved" and self.spent_at is None and now < (self.granted_until or 0.0)


@dataclass(frozen=True)
class Asker:
    """The bottle that asks: one launch of it, its policy, and how long its requests and its approvals last."""

    guard: str
    slug: str
    bottle: str
    agent: str
    policy: str
    timeout_seconds: float
    grant_seconds: float


@dataclass(frozen=True)
class Excess:
    """The requests of a bottle that were only counted, because it asked too often."""

    slug: str
    count: int
    last_at: float


def canonical(rule: Mapping[str, object]) -> str:
    """Return a rule as JSON in its canonical form, of which the digest is made."""
    return json.dumps(rule, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse_id(text: object) -> int:
    """Return the number in the id of a request, such as r7; raises `InvalidRequest`."""
    found = _ID.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise InvalidRequest("that is not the id of a request", hint="an id is r and a number, such as r7")
    return int(found[1])


def parse_reference(text: str) -> tuple[int, str]:
    """Return the number and the beginning of the digest in a reference; raises `InvalidRequest`."""
    found = _REFERENCE.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"{text[:40]!r} does not name a request", hint="'claude-bottle pending' shows names such as r7-3f9a1c2b"
        )
    return int(found[1]), found[2]


class Requests:
    """The requests in the database at `path`, for guards and for commands.

    `record` is called with each request that is new or has a new state, before the change takes effect. If it raises,
    nothing has changed. `now` is the clock.
    """

    def __init__(self, path: Path, record: Callable[[Request], None], now: Callable[[], float] = time.time) -> None:
        self._database = Database(path, _VERSIONS, what="the guards' database", loses="all requests and approvals")
        self._record, self._now = record, now

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Requests:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(
        self, asker: Asker, kind: str, rule: Mapping[str, object], *, reason: str, asked_by: str = "agent"
    ) -> Request:
        """Record a request; return the one that is pending or approved for the same rule instead if there is one.

        `asked_by` is "agent", or "refusal" when the guard asks about a refused connection by itself; that returns a
        denied request too. Raises `InvalidRequest` for one that is too large, and `TooManyRequests`.
        """
        text, now = _checked(rule, reason), self._now()
        digest = _digest(asker, kind, text)
        with self._database.transaction() as connection:
            self._expire(connection, now)
            if known := self._known(connection, asker.guard, digest, now, even_denied=asked_by != "agent"):
                return known
            if not (problem := self._limit(connection, asker.guard, now)):
                number = connection.execute(
                    "INSERT INTO requests (guard, slug, bottle, agent, kind, rule, digest, policy, reason, asked_by, "
                    "asked_at, expires_at, grant_seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *(asker.guard, asker.slug, asker.bottle, asker.agent),
                        *(kind, text, digest, asker.policy, reason, asked_by),
                        *(now, now + asker.timeout_seconds, asker.grant_seconds),
                    ),
                ).lastrowid
                return self._recorded(connection, int(number or 0))
            connection.execute(
                "INSERT INTO excess VALUES (?, ?, 1, ?) ON CONFLICT (guard) DO UPDATE "
                "SET count = count + 1, last_at = excluded.last_at",
                (asker.guard, asker.slug, now),
            )
        raise TooManyRequests(problem, hint="wait until earlier requests are decided, or go on without this one")

    def get(self, number: int, guard: str = "") -> Request:
        """Return a request in its present state; raises `NotFound`, also for one of another guard than `guard`."""
        found = self._database.rows("SELECT * FROM requests WHERE number = ? AND ? IN ('', guard)", number, guard)
        if not found:
            raise NotFound(f"there is no request r{number}", hint="'claude-bottle pending' shows the requests")
        return _request(found[0])

    def of_guard(self, guard: str) -> list[Request]:
        """Return all requests of one launch, oldest first."""
        rows = self._database.rows("SELECT * FROM requests WHERE guard = ? ORDER BY number", guard)
        return [_request(row) for row in rows]

    def in_state(self, *states: RequestState) -> list[Request]:
        """Return the requests of all bottles in these states, oldest first."""
        marks = ", ".join("?" for _ in states)
        query = f"SELECT * FROM requests WHERE state IN ({marks}) ORDER BY number"  # noqa: S608 - only marks
        return [_request(row) for row in self._database.rows(query, *states)]

    def excess(self) -> list[Excess]:
        """Return how many requests of each bottle exceeded its limits."""
        rows = self._database.rows("SELECT slug, count, last_at FROM excess ORDER BY last_at")
        return [Excess(str(row["slug"]), int(row["count"]), float(row["last_at"])) for row in rows]

    def decide(self, reference: str, *, approve: bool, who: str, policy: Callable[[Request], str | None]) -> Request:
        """Approve or deny a pending request; return it with its new state, which is "void" if the policy has changed.

        `policy` returns the digest of the policy that its bottle has now, None when the bottle has ended. Raises
        `NotFound`, and `Conflict` for a request that is not pending any more, or whose bottle has ended.
        """
        number, digest = parse_reference(reference)
        with self._database.transaction() as connection:
            now = self._now()
            self._expire(connection, now)
            request = decided = _one(connection, number)
            if request.state == "pending" and request.digest.startswith(digest):
                state = _decision(request, approve=approve, present=policy(request))
                until = now + request.grant_seconds if state == "approved" else None
                connection.execute(
                    "UPDATE requests SET state = ?, decided_at = ?, decided_by = ?, granted_until = ? WHERE number = ?",
                    (state, now, "" if state == "ended" else who, until, number),
                )
                decided = self._recorded(connection, number)
        if not request.digest.startswith(digest):
            raise Conflict(
                f"r{number} is for another rule than the one that {reference} names",
                hint="look at it: 'claude-bottle pending'",
            )
        if request.state != "pending":
            raise Conflict(
                f"{request.id} is {_past(request)} already", hint="'claude-bottle pending' lists what is open"
            )
        if decided.state == "ended":
            raise Conflict(f"the bottle {request.slug} has ended, so nothing can be allowed", hint="run it again")
        return decided

    def spend(self, number: int, guard: str, policy: str) -> None:
        """Mark an approval as used; raises `Conflict` unless it is in effect, under this policy."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE requests SET spent_at = ? WHERE number = ? AND guard = ? AND state = 'approved' "
                "AND spent_at IS NULL AND granted_until > ? AND policy = ?",
                (self._now(), number, guard, self._now(), policy),
            ).rowcount
        if changed != 1:
            raise Conflict(f"r{number} allows nothing any more", hint="ask again")

    def make_void(self, guard: str, policy: str) -> None:
        """Make the approvals of a launch void that are in effect, and were asked for under another policy."""
        with self._database.transaction() as connection:
            now = self._now()
            query = (
                "SELECT number FROM requests WHERE guard = ? AND state = 'approved' AND spent_at IS NULL "
                "AND granted_until > ? AND policy <> ?"
            )
            for row in connection.execute(query, (guard, now, policy)).fetchall():
                connection.execute(
                    "UPDATE requests SET state = 'void', decided_by = 'policy', granted_until = ? WHERE number = ?",
                    (now, row["number"]),
                )
                self._recorded(connection, int(row["number"]))

    def end(self, guard: str) -> None:
        """End all pending requests and all approvals of a launch whose guard ends."""
        with self._database.transaction() as connection:
            self._end(connection, guard, self._now())

    def settle(self, is_alive: Callable[[str, str], bool]) -> None:
        """End the requests of killed guards, expire those whose time is over, and delete old ones.

        `is_alive` takes a slug and a guard.
        """
        with self._database.transaction() as connection:
            now = self._now()
            self._expire(connection, now)
            held = "SELECT DISTINCT slug, guard FROM requests WHERE state = 'pending' OR granted_until > ?"
            for row in connection.execute(held, (now,)).fetchall():
                if not is_alive(row["slug"], row["guard"]):
                    self._end(connection, row["guard"], now)
            connection.execute("DELETE FROM requests WHERE state <> 'pending' AND asked_at < ?", (now - _KEPT_SECONDS,))
            connection.execute("DELETE FROM excess WHERE last_at < ?", (now - _KEPT_SECONDS,))

    def expire(self) -> Sequence[Request]:
        """Expire the pending requests whose time is over; return them."""
        with self._database.transaction() as connection:
            return self._expire(connection, self._now())

    def _expire(self, connection: sqlite3.Connection, now: float) -> list[Request]:
        over = connection.execute("SELECT number FROM requests WHERE state = 'pending' AND expires_at <= ?", (now,))
        numbers = [int(row["number"]) for row in over.fetchall()]
        for number in numbers:
            connection.execute(
                "UPDATE requests SET state = 'expired', decided_at = ?, decided_by = 'timeout' WHERE number = ?",
                (now, number),
            )
        return [self._recorded(connection, number) for number in numbers]

    def _end(self, connection: sqlite3.Connection, guard: str, now: float) -> None:
        pending = connection.execute("SELECT number FROM requests WHERE guard = ? AND state = 'pending'", (guard,))
        for row in pending.fetchall():
            connection.execute(
                "UPDATE requests SET state = 'ended', decided_at = ? WHERE number = ?", (now, row["number"])
            )
            self._recorded(connection, int(row["number"]))
        connection.execute(
            "UPDATE requests SET granted_until = ? WHERE guard = ? AND granted_until > ?", (now, guard, now)
        )

    def _recorded(self, connection: sqlite3.Connection, number: int) -> Request:
        request = _one(connection, number)
        self._record(request)
        return request

    def _known(
        self, connection: sqlite3.Connection, guard: str, digest: str, now: float, *, even_denied: bool
    ) -> Request | None:
        query = "SELECT * FROM requests WHERE guard = ? AND digest = ? ORDER BY number DESC"
        for request in map(_request, connection.execute(query, (guard, digest))):
            if request.state == "pending" or request.allows(now) or (even_denied and request.state == "denied"):
                return request
        return None

    def _limit(self, connection: sqlite3.Connection, guard: str, now: float) -> str:
        """Return why a guard may not ask now; "" when it may."""
        count = "SELECT COUNT(*) FROM requests WHERE guard = ?"
        if connection.execute(f"{count} AND state = 'pending'", (guard,)).fetchone()[0] >= MOST_PENDING:
            return f"{MOST_PENDING} requests of this bottle wait for a decision already"
        if connection.execute(count, (guard,)).fetchone()[0] >= MOST_OF_LAUNCH:
            return f"this bottle has asked {MOST_OF_LAUNCH} times"
        asked = connection.execute(f"{count} AND asked_at > ?", (guard, now - WINDOW_SECONDS)).fetchone()[0]
        if asked >= MOST_IN_WINDOW:
            return f"this bottle has asked {MOST_IN_WINDOW} times within {WINDOW_SECONDS / 60:g} minutes"
        return ""


def _checked(rule: Mapping[str, object], reason: str) -> str:
    text = canonical(rule)
    if len(text) > LARGEST_RULE:
        raise InvalidRequest(f"the request is larger than {LARGEST_RULE} bytes", hint="ask for less at once")
    if len(reason) > LONGEST_REASON:
        raise InvalidRequest(
            f"the reason has {len(reason)} characters, at most {LONGEST_REASON} are possible", hint="shorten it"
        )
    return text


def _digest(asker: Asker, kind: str, rule: str) -> str:
    return hashlib.sha256("\0".join((asker.guard, asker.policy, kind, rule)).encode()).hexdigest()


def _decision(request: Request, *, approve: bool, present: str | None) -> RequestState:
    if present is None:
        return "ended"
    if not approve:
        return "denied"
    return "approved" if present == request.policy else "void"


def _past(request: Request) -> str:
    by = f" by {request.decided_by}" if request.decided_by and request.state != "expired" else ""
    return f"{request.state}{by}"


def _one(connection: sqlite3.Connection, number: int) -> Request:
    row = connection.execute("SELECT * FROM requests WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise NotFound(f"there is no request r{number}", hint="'claude-bottle pending' shows the requests")
    return _request(row)


def _request(row: sqlite3.Row) -> Request:
    found = dict(row)
    found["rule"] = json.loads(found["rule"])
    return Request(**cast(dict[str, object], found))  # type: ignore[arg-type]
