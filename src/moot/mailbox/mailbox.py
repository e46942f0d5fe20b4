"""The mailbox of one role: each message to its agent, by which road it was offered, and whether the agent has read it.

waiting ──> offered ──> seen ──> acknowledged
   ^           │
   └───────────┘  the session of the agent ended, or the road did not deliver in time

It is a SQLite file that the adapters, the notify daemon and the hooks of the role share. A message is claimed in a
transaction before it is offered, so no two roads offer it at once. Each offer has a token that nobody else knows, and
that is part of the text which the agent reads. An offer is accepted when the token is in a prompt that a hook gets. It
is seen when the token is in the transcript, because a harness may be killed in between. If the file is lost, the server
sends what was not acknowledged again.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from moot.mailbox.mailbox_file import fact_of, leave_the_future, note, opened, void
from moot.mailbox.message_block import Message
from moot.mailbox.transcripts import conversation, tokens_in

Road = Literal["channel", "hook", "tmux"]
ACCEPT_SECONDS = {"channel": 10.0, "hook": 120.0, "tmux": 30.0}
"""The time in which an idle agent must show that it has got what a road offered."""
UNDOUBTED_SECONDS = 60.0
"""The time after which an accepted offer counts as seen in a session that goes on, whatever its transcript shows."""
UNKNOWN_SECONDS = 300.0
"""The same for an agent whose state is unknown."""
_KEEP_SECONDS = 86_400.0
_FAILED_SECONDS = 3600.0
"""The time during which a new session does not use a road that failed in an earlier session."""
_FIELDS = tuple(Message.__dataclass_fields__)


@dataclass(frozen=True)
class Offer:
    """Messages that one road has claimed. Their text must contain `token`, see `message_block`."""

    token: str
    road: Road
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Place:
    """An event in the log of a space. Its id tells whether a log that has so many events is still the same one."""

    sequence: int
    event_id: str | None = None


@dataclass(frozen=True)
class Unread:
    """How many messages wait for the agent."""

    mentions: int
    others: int


class Mailbox:
    """One mailbox, for any number of threads and processes."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.RLock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._db = opened(path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise  # the disk is full, for example
            path.replace(path.with_suffix(".broken"))
            self._db = opened(path)

    @classmethod
    def existing(cls, path: Path) -> Mailbox | None:
        """Return the mailbox in a file; None when there is no file."""
        return cls(path) if path.exists() else None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    # Filled by the subscription

    def add(self, message: Message) -> bool:
        """Add a message; return whether it is new."""
        values = [getattr(message, name) for name in _FIELDS]
        with self._transaction() as db:
            names = ", ".join((*_FIELDS, "urgent", "added_at"))
            marks = ", ".join("?" * (len(_FIELDS) + 2))
            added = db.execute(
                f"INSERT OR IGNORE INTO messages ({names}) VALUES ({marks})",  # noqa: S608 - our own names
                [*values, int(message.urgent), self._now()],
            ).rowcount
            db.execute(
                "UPDATE messages SET seen_at = returned_at FROM returned"
                " WHERE returned.event_id = messages.event_id AND seen_at IS NULL AND messages.event_id = ?",
                [message.event_id],
            )
            self._forget_old(db)
        return added == 1

    def place(self, space_id: str) -> Place | None:
        """Return up to which event all messages of a space are here; None before the first."""
        row = self._one("SELECT sequence, event_id FROM places WHERE space_id = ?", space_id)
        return None if row is None else Place(*row)

    def reached(self, space_id: str, place: Place) -> None:
        """Record that all messages of a space up to this event are here; an earlier event changes nothing."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO places VALUES (?, ?, ?) ON CONFLICT (space_id) DO UPDATE"
                " SET sequence = excluded.sequence, event_id = excluded.event_id WHERE excluded.sequence > sequence",
                [space_id, place.sequence, place.event_id],
            )

    def start_over(self, space_id: str, place: Place) -> None:
        """Record the place in a log that is another one than before."""
        with self._transaction() as db:
            values = [space_id, place.sequence, place.event_id]
            db.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?)", values)

    def fact(self, name: str) -> str | None:
        """Return a fact that was noted for this role."""
        row = self._one("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else str(row[0])

    def note(self, name: str, value: str | None) -> None:
        """Note a fact for this role, across restarts; None forgets it."""
        with self._transaction() as db:
            note(db, name, value)

    # Sessions of the harness

    @property
    def session(self) -> str:
        """Return the id of the agent's session; "" when no hook has told of one."""
        return self.fact("session") or ""

    def begin_session(self, session_id: str, transcript: Path | None = None) -> None:
        """Record that the harness runs this session: what an earlier one has not read is offered again.

        Call it at the start of a session, before anything is claimed for it.
        """
        if (before := self.fact("transcript")) is not None:
            self._seen_in_transcript(Path(before))
        if transcript is not None:
            self._seen_in_transcript(transcript)
        with self._transaction() as db:
            if fact_of(db, "session") != session_id:  # else its conversation was compacted
                old = [self._now() - _FAILED_SECONDS]
                db.execute("DELETE FROM facts WHERE name LIKE 'failed:%' AND CAST(value AS REAL) < ?", old)
            note(db, "session", session_id)
            note(db, "transcript", str(transcript) if transcript else None)
            void(db, "session <> ?", session_id)

    def end_session(self) -> None:
        """Record that the harness has ended: what it has not read is offered to the next session."""
        if (before := self.fact("transcript")) is not None:
            self._seen_in_transcript(Path(before))
        with self._transaction() as db:
            note(db, "session", None)
            void(db, "session <> ''")

    # Roads

    def claim(
        self,
        road: Road,
        *,
        idle_since: float | None = None,
        urgent_only: bool = False,
        least_age: float = 0.0,
        most_messages: int = 20,
        most_characters: int = 8000,
    ) -> Offer | None:
        """Claim the messages that this road offers next, the urgent and then the oldest first; None if there are none.

        `idle_since` says that the agent is idle: then offers that were not accepted in time count as failed, also for
        the road. `least_age` leaves other roads the first chance. At least one message comes, whatever its size.
        """
        if (transcript := self.fact("transcript")) is not None:
            self._seen_in_transcript(Path(transcript))  # no hook runs after a turn that a person has interrupted
        with self._transaction() as db:
            leave_the_future(db, self._now())
            self._expire(db, idle_since)
            if self._failed(db, road):
                return None
            rows = db.execute(
                f"SELECT {', '.join(_FIELDS)} FROM messages WHERE seen_at IS NULL AND token IS NULL"  # noqa: S608
                " AND added_at <= ? AND urgent >= ? ORDER BY urgent DESC, added_at, sequence LIMIT ?",
                [self._now() - (0.0 if self._failed(db, "channel") else least_age), int(urgent_only), most_messages],
            ).fetchall()
            chosen: list[Message] = []
            size = 0
            for row in rows:
                message = Message(**dict(zip(_FIELDS, row, strict=True)))
                size += min(len(message.text), 2500) + 500
                if chosen and size > most_characters:
                    break
                chosen.append(message)
            if not chosen:
                return None
            token = f"ofr_{secrets.token_hex(12)}"
            session = fact_of(db, "session") or ""
            db.execute("INSERT INTO offers VALUES (?, ?, ?, ?, NULL)", [token, road, session, self._now()])
            pairs = [(token, one.event_id) for one in chosen]
            db.executemany("INSERT INTO offered VALUES (?, ?)", pairs)
            db.executemany("UPDATE messages SET token = ? WHERE event_id = ?", pairs)
        return Offer(token, road, tuple(chosen))

    def withdraw(self, offer: Offer) -> None:
        """Let the messages of an offer wait again: it was not handed over."""
        with self._transaction() as db:
            void(db, "token = ?", offer.token)

    def restart_road(self, road: Road) -> None:
        """Let messages wait again that a road offered outside a session: its process and the agent's have restarted."""
        with self._transaction() as db:
            void(db, "road = ? AND session = ''", road)

    def road_failed(self, road: Road) -> None:
        """Record that a road does not work in this session: it claims nothing more."""
        with self._transaction() as db:
            note(db, f"failed:{road}", str(self._now()))
            void(db, "road = ?", road)

    # Reading

    def seen_in(self, text: str) -> int:
        """Record that the harness has given a text to the agent; return how many messages of offers it has.

        They are seen at once when the session has no transcript, which would show it.
        """
        tokens = tokens_in(text)
        if self.fact("transcript") is None:
            return self._seen_tokens(tokens)
        with self._transaction() as db:
            for token in tokens:
                db.execute("UPDATE offers SET accepted_at = ? WHERE token = ?", [self._now(), token])
            marks = ", ".join("?" * len(tokens))
            found = f"SELECT count(*) FROM offered WHERE token IN ({marks})"  # noqa: S608
            return int(db.execute(found, list(tokens)).fetchone()[0])

    def read_transcript(self, transcript: Path) -> int:
        """Record what the agent has read according to a transcript, from where it was read last; return how many."""
        found = self._seen_in_transcript(transcript)
        if self.fact("transcript") is None:  # the session began before the mailbox was made
            self.note("transcript", str(transcript))
        with self._transaction() as db:
            undoubted = "SELECT token FROM offers WHERE session = ? AND accepted_at < ?"
            which = [fact_of(db, "session") or "", self._now() - UNDOUBTED_SECONDS]
            tokens = {row[0] for row in db.execute(undoubted, which)}
        return found + self._seen_tokens(tokens)

    def _seen_in_transcript(self, transcript: Path) -> int:
        name = f"read:{transcript}"
        start = int(self.fact(name) or 0)
        text, end = conversation(transcript, start)
        found = self._seen_tokens(tokens_in(text))
        if end != start:
            self.note(name, str(end))
        return found

    def seen(self, event_ids: Sequence[str]) -> int:
        """Record that the agent has read these messages, because a tool has returned them, also before they come."""
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO returned VALUES (?, ?)", [(one, self._now()) for one in event_ids])
            marks = ", ".join("?" * len(event_ids))
            which = f"event_id IN ({marks}) AND seen_at IS NULL"
            return db.execute(f"UPDATE messages SET seen_at = ? WHERE {which}", [self._now(), *event_ids]).rowcount  # noqa: S608

    def is_here(self, event_id: str) -> bool:
        """Return whether a message has come."""
        return self._one("SELECT 1 FROM messages WHERE event_id = ?", event_id) is not None

    def is_seen(self, event_id: str) -> bool:
        """Return whether a message was seen, or is not here any more."""
        row = self._one("SELECT seen_at FROM messages WHERE event_id = ?", event_id)
        return row is None or row[0] is not None

    def accepted(self, offer: Offer) -> bool:
        """Return whether the harness has given an offer to the agent."""
        row = self._one(
            "SELECT count(*) FROM messages JOIN offered USING (event_id) JOIN offers ON offers.token = offered.token"
            " WHERE offered.token = ? AND seen_at IS NULL AND accepted_at IS NULL",
            offer.token,
        )
        return row is not None and row[0] == 0

    def unread(self) -> Unread:
        """Return how many messages wait that no road offers now."""
        row = self._one(
            "SELECT coalesce(sum(relevance = 'mention'), 0), coalesce(sum(relevance <> 'mention'), 0) FROM messages"
            " WHERE seen_at IS NULL AND token IS NULL"
        )
        assert row is not None
        return Unread(int(row[0]), int(row[1]))

    # Acknowledging at the server

    def to_acknowledge(self, most: int = 200) -> dict[str, list[str]]:
        """Return the ids of messages that were seen, and that the server does not know of, by space."""
        found: dict[str, list[str]] = {}
        with self._transaction() as db:
            rows = db.execute(
                "SELECT space_id, event_id FROM messages WHERE seen_at IS NOT NULL AND acknowledged_at IS NULL"
                " AND space_id <> '' ORDER BY seen_at LIMIT ?",
                [most],
            ).fetchall()
        for space_id, event_id in rows:
            found.setdefault(space_id, []).append(event_id)
        return found

    def acknowledged(self, event_ids: Sequence[str]) -> None:
        """Record that the server has the acknowledgement of these messages."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE messages SET acknowledged_at = ? WHERE event_id = ?", [(self._now(), one) for one in event_ids]
            )

    def _forget_old(self, db: sqlite3.Connection) -> None:
        old = [self._now() - _KEEP_SECONDS]
        if db.execute("DELETE FROM messages WHERE acknowledged_at < ?", old).rowcount:
            db.execute("DELETE FROM offered WHERE event_id NOT IN (SELECT event_id FROM messages)")
            db.execute("DELETE FROM offers WHERE token NOT IN (SELECT token FROM offered)")
            db.execute("DELETE FROM returned WHERE returned_at < ?", old)

    def _seen_tokens(self, tokens: set[str]) -> int:
        if not tokens:
            return 0
        count = 0
        with self._transaction() as db:
            for token in tokens:
                # Also of an offer that was void by then: the message must not come again.
                which = "event_id IN (SELECT event_id FROM offered WHERE token = ?) AND seen_at IS NULL"
                count += db.execute(f"UPDATE messages SET seen_at = ? WHERE {which}", [self._now(), token]).rowcount  # noqa: S608
        return count

    def _expire(self, db: sqlite3.Connection, idle_since: float | None) -> None:
        """Make the offers void that were not accepted in time; their roads have failed for this session."""
        open_ones = "SELECT DISTINCT o.token, o.road, o.offered_at FROM offers o JOIN messages m USING (token)"
        unseen = f"{open_ones} WHERE m.seen_at IS NULL AND o.accepted_at IS NULL"
        for token, road, offered_at in db.execute(unseen).fetchall():
            if idle_since is None:
                late = self._now() - offered_at > UNKNOWN_SECONDS and not fact_of(db, "session")
            else:
                late = self._now() - max(offered_at, min(idle_since, self._now())) > ACCEPT_SECONDS[road]
            if late:
                note(db, f"failed:{road}", str(self._now()))
                void(db, "token = ?", token)

    def _failed(self, db: sqlite3.Connection, road: str) -> bool:
        """Return whether a road has failed: the channel for this session, another one for its time."""
        since = fact_of(db, f"failed:{road}")
        return since is not None and (road == "channel" or self._now() - float(since) < ACCEPT_SECONDS[road])

    def _one(self, statement: str, *values: object) -> Any:
        with self._lock:
            return self._db.execute(statement, values).fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
