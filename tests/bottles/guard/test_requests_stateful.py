"""Requests and approvals in any order of steps, against a model that is easy to read."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from claude_bottle.guard.requests import MOST_IN_WINDOW, MOST_PENDING, Asker, Request, Requests
from pyro_mcp.errors import Conflict, TooManyRequests

TIMEOUT, GRANT = 100.0, 300.0
HOSTS = st.sampled_from([f"h{number}.example:443" for number in range(6)])
GUARDS = st.sampled_from(["g1", "g2"])


@dataclass
class Expected:
    """What the model knows of a request."""

    guard: str
    host: str
    asked_at: float
    policy: str
    state: str = "pending"
    until: float = 0.0


class AnyOrder(RuleBasedStateMachine):
    """Agents, persons and guards that act in any order, and a clock."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.folder = tempfile.TemporaryDirectory()
        self.recorded: list[tuple[int, str]] = []
        path = Path(self.folder.name) / "guard" / "guard.db"
        path.parent.mkdir()
        self.requests = Requests(path, lambda one: self.recorded.append((one.number, one.state)), lambda: self.now)
        self.other = Requests(path, lambda one: self.recorded.append((one.number, one.state)), lambda: self.now)
        self.known: dict[int, Expected] = {}
        self.references: dict[int, str] = {}
        self.policy = {"g1": "p0", "g2": "p0"}
        self.alive = {"g1", "g2"}

    def teardown(self) -> None:
        if hasattr(self, "requests"):
            self.requests.close()
            self.other.close()
            self.folder.cleanup()

    @rule(guard=GUARDS, host=HOSTS, by=st.sampled_from(["agent", "refusal"]))
    def ask(self, guard: str, host: str, by: str) -> None:
        if guard not in self.alive:
            return
        self._expire()
        same = [
            (number, one)
            for number, one in sorted(self.known.items(), reverse=True)
            if (one.guard, one.host, one.policy) == (guard, host, self.policy[guard])
        ]
        open_ = [
            number
            for number, one in same
            if one.state == "pending" or self._holds(one) or (by == "refusal" and one.state == "denied")
        ]
        mine = [one for one in self.known.values() if one.guard == guard]
        full = sum(one.state == "pending" for one in mine) >= MOST_PENDING
        often = sum(one.asked_at > self.now - 600 for one in mine) >= MOST_IN_WINDOW
        try:
            found = self.requests.ask(self._asker(guard), "host", {"host": host}, reason="x", asked_by=by)
        except TooManyRequests:
            assert not open_ and (full or often)
            return
        if open_:
            assert found.number == open_[0]
            return
        assert found.number not in self.known and not (full or often)
        self.known[found.number] = Expected(guard, host, self.now, self.policy[guard])
        self.references[found.number] = found.reference

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data(), approve=st.booleans())
    def decide(self, data: st.DataObject, approve: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        self._expire()
        one = self.known[number]
        before = one.state
        try:
            self.other.decide(self.references[number], approve=approve, who="person", policy=self._present)
        except Conflict:
            assert before != "pending" or one.guard not in self.alive
            if before == "pending":
                one.state = "ended"
            return
        assert before == "pending" and one.guard in self.alive
        one.state = "denied" if not approve else "approved" if self.policy[one.guard] == one.policy else "void"
        one.until = self.now + GRANT if one.state == "approved" else 0.0

    @rule(guard=GUARDS, number=st.integers(0, 3))
    def change_the_manifest(self, guard: str, number: int) -> None:
        self.policy[guard] = f"p{number}"

    @rule(seconds=st.sampled_from([1.0, 50.0, TIMEOUT, GRANT]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: bool(self.known))
    @rule(data=st.data())
    def spend(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.known)))
        one = self.known[number]
        try:
            self.requests.spend(number, one.guard, self.policy[one.guard])
        except Conflict:
            assert not self._holds(one) or self.policy[one.guard] != one.policy
            return
        assert self._holds(one) and self.policy[one.guard] == one.policy
        one.until = 0.0

    @rule(guard=GUARDS)
    def notice_the_change(self, guard: str) -> None:
        self.requests.make_void(guard, self.policy[guard])
        for one in self.known.values():
            if one.guard == guard and self._holds(one) and one.policy != self.policy[guard]:
                one.state, one.until = "void", 0.0

    @rule(guard=GUARDS)
    def kill(self, guard: str) -> None:
        self.alive.discard(guard)

    @rule()
    def look(self) -> None:
        self.other.settle(lambda _slug, guard: guard in self.alive)
        self._expire()
        for one in self.known.values():
            if one.guard not in self.alive:
                one.until = 0.0
                if one.state == "pending":
                    one.state = "ended"

    @invariant()
    def the_database_is_what_the_model_expects(self) -> None:
        if not hasattr(self, "known"):
            return
        for number, one in self.known.items():
            found = self.requests.get(number)
            late = one.state == "pending" and self.now >= one.asked_at + TIMEOUT
            assert found.state == one.state or (late and found.state == "expired")
            assert found.allows(self.now) == self._holds(one)

    @invariant()
    def every_change_was_recorded_once(self) -> None:
        if hasattr(self, "recorded"):
            assert len(self.recorded) == len(set(self.recorded))
            for number, one in self.known.items():
                assert one.state == "pending" or (number, one.state) in self.recorded

    def _asker(self, guard: str) -> Asker:
        return Asker(guard, guard, "small", "web", self.policy[guard], TIMEOUT, GRANT)

    def _present(self, request: Request) -> str | None:
        return self.policy[request.guard] if request.guard in self.alive else None

    def _holds(self, one: Expected) -> bool:
        return one.state == "approved" and self.now < one.until

    def _expire(self) -> None:
        for one in self.known.values():
            if one.state == "pending" and self.now >= one.asked_at + TIMEOUT:
                one.state = "expired"


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
