"""The ledger and the budget: whatever the order of requests and answers, and whoever dies, no limit is passed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from claude_bottle.budget.budget import Budget
from claude_bottle.budget.ledger import Ledger, Run
from claude_bottle.budget.limits import Limit, limits_of
from claude_bottle.budget.prices import PICODOLLARS, Prices
from pyro_mcp.errors import HostNotReady
from pyro_mcp.network import ModelRefusal, ModelRequest, ModelUsage, Reservation
from tests.bottles.clock import Clock
from tests.conftest import ROOT

RUN = Run("guard-1", "coder-1", "dev in bottles.toml")
# Claude Sonnet 4.6 costs $3 and $15 for a million tokens: this request costs up to $0.03 + $0.075.
ASKED = ModelRequest(
    api="anthropic",
    host="api.anthropic.com",
    path="/v1/messages",
    model="claude-sonnet-4-6",
    most_input=10_000,
    most_output=5_000,
)
MOST_COST = 105 * PICODOLLARS // 1000


def used(entered: int, output: int | None) -> ModelUsage:
    return ModelUsage(
        input_tokens=entered,
        cache_read_tokens=0,
        cache_write_tokens=0,
        cache_write_hour_tokens=0,
        output_tokens=output,
        searches=0,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Ledger:
    return opened(tmp_path, clock)


def opened(folder: Path, clock: Callable[[], float]) -> Ledger:
    (folder / "budget").mkdir(exist_ok=True)
    return Ledger(folder / "budget" / "budget.db", clock)


def budget(ledger: Ledger, given: Mapping[str, Any], run: Run = RUN) -> Budget:
    return Budget(ledger, run, limits_of(given), Prices(), advice=" Ask.")


def reserved(verdict: Reservation | ModelRefusal) -> str:
    assert isinstance(verdict, Reservation), verdict
    return verdict.id


def refused(verdict: Reservation | ModelRefusal) -> ModelRefusal:
    assert isinstance(verdict, ModelRefusal), verdict
    return verdict


def test_a_request_that_could_pass_the_limit_is_refused_before_it_is_sent(ledger: Ledger) -> None:
    one = budget(ledger, {"usd": 0.50})
    for _ in range(4):
        one.model_usage(reserved(one.model_request(ASKED)), used(10_000, 5_000))

    refusal = refused(one.model_request(ASKED))

    assert refusal.reason == (
        "budget: this run has used $0.42 of $0.50; this request could use $0.11 (at most 10,000 input and 5,000 output "
        "tokens), so it is not sent. Ask."
    )
    assert not refusal.passing
    reserved(one.model_request(replace(ASKED, most_output=1000)))  # a smaller one still fits


def test_a_request_counts_what_it_has_used_and_not_its_most(ledger: Ledger) -> None:
    one = budget(ledger, {"tokens": 16_000})
    for _ in range(10):
        one.model_usage(reserved(one.model_request(ASKED)), used(90, 10))
    spent = ledger.spent(RUN)["run"]
    assert (spent.used.tokens, spent.used.requests, spent.reserved.tokens) == (1000, 10, 0)
    one.model_usage(reserved(one.model_request(ASKED)), used(90, 10))
    assert "1,100 tokens of 16,000 tokens" in refused(one.model_request(ASKED)).reason


def test_parallel_streams_cannot_pass_the_limit_together(tmp_path: Path, clock: Clock) -> None:
    """Fifty agents begin to stream at once with $0.50: booked at their ends, that would cost $5.25."""
    ledgers = [opened(tmp_path, clock) for _ in range(10)]  # each guard has a connection of its own
    budgets = [budget(one, {"usd": 0.50}) for one in ledgers]
    start, verdicts = threading.Barrier(50), []

    def stream(one: Budget) -> None:
        start.wait(30)
        verdicts.append((one, one.model_request(ASKED)))

    threads = [threading.Thread(target=stream, args=(budgets[index % 10],)) for index in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    running = [(one, verdict.id) for one, verdict in verdicts if isinstance(verdict, Reservation)]
    assert (len(verdicts), len(running)) == (50, 4)
    for one, reservation in running:
        one.model_usage(reservation, used(10_000, 5_000))
    assert ledgers[0].spent(RUN)["run"].used.usd == 4 * MOST_COST <= 0.50 * PICODOLLARS


def test_a_request_that_only_waits_for_others_is_told_to_come_again(ledger: Ledger) -> None:
    one = budget(ledger, {"usd": 0.15})
    first = reserved(one.model_request(ASKED))
    refusal = refused(one.model_request(ASKED))
    assert refusal.passing and "run now have ended" in refusal.reason
    one.model_usage(first, used(100, 10))
    reserved(one.model_request(ASKED))


def test_what_an_answer_did_not_say_stays_reserved(ledger: Ledger) -> None:
    one = budget(ledger, {"tokens": 1_000_000, "usd": 10})
    one.model_usage(reserved(one.model_request(ASKED)), ModelUsage())
    one.model_usage(reserved(one.model_request(ASKED)), used(700, None))
    spent = ledger.spent(RUN)["run"]
    assert spent.used.tokens == 0 and spent.reserved.tokens == 15_000 + 5_700
    assert spent.reserved.usd == MOST_COST + 700 * 3_000_000 + 5_000 * 15_000_000


def test_the_end_of_a_request_counts_once(ledger: Ledger) -> None:
    one = budget(ledger, {"tokens": 20_000})
    reservation = reserved(one.model_request(ASKED))
    assert ledger.spent(RUN)["run"].reserved.tokens == 15_000
    one.model_usage(reservation, used(10, 20))
    one.model_usage(reservation, used(0, 0))
    assert ledger.spent(RUN)["run"].used.tokens == 30


def test_a_request_that_the_api_refused_counts_for_nothing(ledger: Ledger) -> None:
    one = budget(ledger, {"requests": 1})
    for _ in range(3):
        one.model_usage(reserved(one.model_request(ASKED)), used(0, 0))
    one.model_usage(reserved(one.model_request(ASKED)), used(1, 1))
    assert "1 requests of 1 requests" in refused(one.model_request(ASKED)).reason


def test_a_limit_on_requests_alone_needs_neither_price_nor_size(ledger: Ledger) -> None:
    one = budget(ledger, {"requests": 2})
    reserved(one.model_request(replace(ASKED, model="unknown", most_input=None, most_output=None, unpriced=("speed",))))


def test_an_unknown_model_is_refused_with_the_key_to_add(ledger: Ledger) -> None:
    reason = refused(budget(ledger, {"usd": 1}).model_request(replace(ASKED, model="other-model"))).reason
    assert 'budget.prices."other-model" with input and output' in reason


def test_limits_of_a_day_and_of_a_bottle_count_all_its_runs(ledger: Ledger, clock: Clock) -> None:
    limits = {"day": {"tokens": 20_000}, "bottle": {"tokens": 50_000}}
    budget(ledger, limits).model_usage(reserved(budget(ledger, limits).model_request(ASKED)), ModelUsage())
    second = budget(ledger, limits, replace(RUN, run="guard-2", slug="coder-2"))
    assert "this day (UTC) has used 15,000 tokens of 20,000" in refused(second.model_request(ASKED)).reason
    reserved(budget(ledger, limits, replace(RUN, account="other")).model_request(ASKED))

    for _ in range(2):
        clock.now += 24 * 3600
        reserved(second.model_request(ASKED))
    clock.now += 24 * 3600
    assert "all runs of this bottle have used 45,000" in refused(second.model_request(ASKED)).reason


def test_what_a_person_adds_holds_for_as_long_as_the_approval(ledger: Ledger) -> None:
    added: list[Limit] = []
    one = Budget(ledger, RUN, limits_of({"requests": 1}), Prices(), raises=lambda: added)
    reserved(one.model_request(ASKED))
    refused(one.model_request(ASKED))
    added.append(Limit("run", "requests", 1))
    reserved(one.model_request(ASKED))
    assert "2 requests of 2" in refused(one.model_request(ASKED)).reason
    added.clear()
    assert "2 requests of 1" in refused(one.model_request(ASKED)).reason


def test_a_decision_that_cannot_be_recorded_is_a_refusal_and_reserves_nothing(ledger: Ledger) -> None:
    def record(*_: object) -> None:
        raise HostNotReady("the disk is full")

    one = Budget(ledger, RUN, limits_of({"tokens": 100_000}), Prices(), record=record)
    with pytest.raises(HostNotReady):
        one.model_request(ASKED)
    assert ledger.spent(RUN)["run"].total.tokens == 0


DYING = """
import sys
from pathlib import Path
from tests.bottles.budget.test_ledger import ASKED, budget, opened, reserved
from tests.bottles.clock import Clock
one = budget(opened(Path(sys.argv[1]), Clock()), {"usd": 0.25})
reserved(one.model_request(ASKED)), reserved(one.model_request(ASKED))
if sys.argv[2] == "settling":
    one._ledger._database._connection.execute("BEGIN IMMEDIATE")
    one._ledger._database._connection.execute("UPDATE model_requests SET usd = 0")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("moment", ["reserved", "settling"])
def test_what_a_killed_guard_had_reserved_stays_reserved(tmp_path: Path, clock: Clock, moment: str) -> None:
    words = [sys.executable, "-c", DYING, str(tmp_path), moment]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as guard:
        assert guard.stdout is not None and guard.stdout.readline() == "ready\n"
        os.kill(guard.pid, signal.SIGKILL)
        guard.wait(30)
    after = opened(tmp_path, clock)
    assert after.spent(RUN)["run"].reserved.usd == 2 * MOST_COST
    assert "requests without a known end" in refused(budget(after, {"usd": 0.25}).model_request(ASKED)).reason


def test_the_latest_run_of_a_bottle_is_found_by_its_slug(ledger: Ledger, clock: Clock) -> None:
    budget(ledger, {"usd": 1})
    clock.now += 1
    budget(ledger, {"usd": 2}, replace(RUN, run="guard-2"))
    assert ledger.runs(["coder-1", "absent"]) == {
        "coder-1": (replace(RUN, run="guard-2"), (Limit("run", "usd", 2 * PICODOLLARS),))
    }


class Spending(RuleBasedStateMachine):
    """Requests and answers in any order, over several guards that die and come again."""

    limits: ClassVar[Mapping[str, Any]] = {"tokens": 40_000, "usd": 0.3, "requests": 9, "day": {"tokens": 60_000}}

    @initialize()
    def begin(self) -> None:
        import tempfile  # noqa: PLC0415 - hypothesis makes the machines, so there is no fixture

        self.clock = Clock()
        self._folder = tempfile.TemporaryDirectory()
        self.ledger = opened(Path(self._folder.name), self.clock)
        self.budgets = [budget(self.ledger, self.limits) for _ in range(2)]
        self.running: list[tuple[Budget, str, ModelRequest]] = []

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self.ledger.close()
            self._folder.cleanup()

    @rule(which=st.integers(0, 1), entered=st.integers(0, 20_000), output=st.integers(0, 20_000))
    def ask(self, which: int, entered: int, output: int) -> None:
        asked = replace(ASKED, most_input=entered, most_output=output)
        verdict = self.budgets[which].model_request(asked)
        if isinstance(verdict, Reservation):
            self.running.append((self.budgets[which], verdict.id, asked))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.running) - 1))
        one, reservation, asked = self.running.pop(at)
        entered = data.draw(st.none() | st.integers(0, asked.most_input or 0))
        output = data.draw(st.none() | st.integers(0, asked.most_output or 0))
        usage = ModelUsage() if entered is None else used(entered, output)
        one.model_usage(reservation, usage)

    @rule(which=st.integers(0, 1))
    def die(self, which: int) -> None:
        gone = self.budgets[which]
        self.running = [entry for entry in self.running if entry[0] is not gone]
        self.budgets[which] = budget(self.ledger, self.limits)

    @rule()
    def sleep(self) -> None:
        self.clock.now += 24 * 3600

    @invariant()
    def no_limit_is_passed(self) -> None:
        if hasattr(self, "ledger"):
            spent = self.ledger.spent(RUN)
            for limit in limits_of(self.limits):
                assert spent[limit.span].total.of(limit.unit) <= limit.most


Spending.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSpending = Spending.TestCase
