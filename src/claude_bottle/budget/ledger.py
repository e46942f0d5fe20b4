"""The ledger of all requests to models: what each has used, or may still use.

Before a request is sent, the ledger reserves the most that it may use. When its answer has ended, the amount that it
has used replaces the reserved one. If that amount stays unknown, for example because the guard was killed, the reserved
one stays. The transaction that reserves also decides whether the request fits, so that requests at the same time cannot
exceed a limit together.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.budget.limits import SPANS, Amounts, Limit, Span
from claude_bottle.database import Database, Version
from pyro_mcp.host.files import private_directory, state_home

if TYPE_CHECKING:
    from pyro_mcp.network import ModelUsage

_VERSIONS: tuple[Version, ...] = (
    (
        """CREATE TABLE model_requests (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run TEXT NOT NULL, account TEXT NOT NULL, day TEXT NOT NULL, at REAL NOT NULL,
            host TEXT NOT NULL, model TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'open',
            tokens INTEGER NOT NULL, usd INTEGER NOT NULL, usage TEXT)""",
        "CREATE INDEX model_requests_by_run ON model_requests (run, state, tokens, usd)",
        "CREATE INDEX model_requests_by_account ON model_requests (account, day, state, tokens, usd)",
        """CREATE TABLE runs (
            run TEXT PRIMARY KEY, slug TEXT NOT NULL, account TEXT NOT NULL, limits TEXT NOT NULL,
            started_at REAL NOT NULL)""",
        "CREATE INDEX runs_by_slug ON runs (slug)",
    ),
)
_SUMS = "SELECT state = 'settled', COUNT(*), COALESCE(SUM(tokens), 0), COALESCE(SUM(usd), 0) FROM model_requests"
_QUERIES: Mapping[Span, str] = {
    "run": f"{_SUMS} WHERE run = :run GROUP BY 1",
    "day": f"{_SUMS} WHERE account = :account AND day = :day GROUP BY 1",
    "bottle": f"{_SUMS} WHERE account = :account GROUP BY 1",
}


def ledger_path() -> Path:
    """Return the path of this user's ledger; it need not exist."""
    return private_directory(state_home("claude-bottle") / "budget") / "budget.db"


@dataclass(frozen=True)
class Run:
    """One launch of a bottle: `run` is its own name, `account` the name that all launches of its bottle share."""

    run: str
    slug: str
    account: str


@dataclass(frozen=True)
class Spent:
    """What was used in a span, and what is only reserved: for requests that are open, or whose end is unknown."""

    used: Amounts
    reserved: Amounts

    @property
    def total(self) -> Amounts:
        """Both together."""
        return self.used + self.reserved


class Ledger:
    """The ledger at `path`, for any thread; `now` is the clock. Raises `PyroError` when it cannot be used."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._database = Database(
            path, _VERSIONS, what="the ledger of the budgets", loses="what all bottles have spent"
        )
        self._now = now

    def close(self) -> None:
        """Close the ledger."""
        self._database.close()

    def begin(self, run: Run, limits: Iterable[Limit]) -> None:
        """Store a run and its limits, so that commands can show them."""
        text = json.dumps([asdict(limit) for limit in limits])
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?, ?, ?) ON CONFLICT (run) DO UPDATE SET limits = excluded.limits",
                (run.run, run.slug, run.account, text, self._now()),
            )

    def reserve(
        self, run: Run, limits: Iterable[Limit], most: Amounts, *, host: str, model: str
    ) -> tuple[int, None] | tuple[None, tuple[Limit, Spent]]:
        """Reserve for a request if it fits all limits, and return its number; else the limit that it could exceed."""
        with self._database.transaction() as connection:
            now = self._now()
            day = _day(now)
            for limit in limits:
                spent = _spent(connection, run, day, limit.span)
                if (spent.total + most).of(limit.unit) > limit.most:
                    return None, (limit, spent)
            number = connection.execute(
                "INSERT INTO model_requests (run, account, day, at, host, model, tokens, usd) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (run.run, run.account, day, now, host, model, most.tokens, most.usd),
            ).lastrowid
        return int(number or 0), None

    def settle(self, number: int, used: Amounts, usage: ModelUsage, *, known: bool) -> None:
        """Store what a request has used at its end; only the first call for a request counts.

        Without `known`, some of `used` is an upper bound, because the answer did not give the number; then the amount
        stays reserved for ever. A request that has used nothing, because the API refused it, is forgotten.
        """
        with self._database.transaction() as connection:
            if known and not used.tokens and not used.usd:
                connection.execute("DELETE FROM model_requests WHERE number = ? AND state = 'open'", (number,))
                return
            connection.execute(
                "UPDATE model_requests SET state = ?, tokens = ?, usd = ?, usage = ? "
                "WHERE number = ? AND state = 'open'",
                ("settled" if known else "kept", used.tokens, used.usd, json.dumps(usage.to_json()), number),
            )

    def spent(self, run: Run) -> dict[Span, Spent]:
        """Return what each span of a run has used until now."""
        with self._database.transaction() as connection:
            return {span: _spent(connection, run, _day(self._now()), span) for span in SPANS}

    def runs(self, slugs: Sequence[str]) -> dict[str, tuple[Run, tuple[Limit, ...]]]:
        """Return the latest run of each of these bottles that has limits, by slug."""
        found: dict[str, tuple[Run, tuple[Limit, ...]]] = {}
        for slug in slugs:
            rows = self._database.rows("SELECT * FROM runs WHERE slug = ? ORDER BY started_at DESC LIMIT 1", slug)
            for row in rows:
                limits = tuple(Limit(**one) for one in json.loads(row["limits"]))
                found[slug] = Run(row["run"], row["slug"], row["account"]), limits
        return found

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _spent(connection: sqlite3.Connection, run: Run, day: str, span: Span) -> Spent:
    names = {"run": run.run, "account": run.account, "day": day}
    rows = connection.execute(_QUERIES[span], names).fetchall()
    found = {bool(row[0]): Amounts(int(row[1]), int(row[2]), int(row[3])) for row in rows}
    return Spent(found.get(True, Amounts()), found.get(False, Amounts()))


def _day(now: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(now))
