"""`claude-bottle audit` and `audit verify`."""

from __future__ import annotations

import json
import time

import pytest

from claude_bottle.audit import Decision, DecisionKind, user_journal
from tests.bottles.cli.conftest import Cli, Write, launched


@pytest.fixture
def decisions(cli: Cli) -> Cli:
    """The command, in a home with three decisions."""
    decided: list[tuple[DecisionKind, Decision, str]] = [
        ("egress", "allowed", "pypi.org"),
        ("push", "held", "main"),
        ("stop", "ended", "\x1b[2J"),
    ]
    for kind, decision, rule in decided:
        user_journal().add(
            kind, decision, slug="web-3f9a1c", bottle="small", agent="web", who="policy", rule=rule, what={}
        )
    return cli


def test_decisions_are_shown_with_who_and_which_rule(decisions: Cli) -> None:
    told = decisions("audit")

    assert told.returncode == 0
    assert [line.split()[2:] for line in told.stdout.splitlines()[1:]] == [
        ["web-3f9a1c", "egress", "allowed", "policy", "pypi.org"],
        ["web-3f9a1c", "push", "held", "policy", "main"],
        ["web-3f9a1c", "stop", "ended", "policy", '"\\u001b[2J"'],
    ]


def test_decisions_are_chosen_by_kind_bottle_time_and_number(decisions: Cli) -> None:
    def numbers(*words: str) -> list[int]:
        return [one["number"] for one in json.loads(decisions("audit", "--json", *words).stdout)["entries"]]

    assert numbers("--kind", "push") == [2]
    assert numbers("--slug", "web-3f9a1c") == numbers("--bottle", "small") == [1, 2, 3]
    assert numbers("--slug", "small") == numbers("--bottle", "web-3f9a1c") == []
    assert numbers("--since", "1h") == [1, 2, 3]
    assert numbers("--since", time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() + 120))) == []
    assert numbers("--limit", "2") == [2, 3]
    assert "(1 earlier decisions are left out" in decisions("audit", "--limit", "2").stdout


def test_no_decision_is_no_error(cli: Cli) -> None:
    assert (cli("audit").stdout, cli("audit", "verify").returncode) == ("no decisions\n", 0)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--since", "yesterday"), "'yesterday' is neither a duration such as 30m"),
        (("--kind", "pus"), "there is no kind of decision 'pus'"),
        (("--limit", "0"), "must be at least 1"),
        (("verify", "--mark", "12"), "'12' is not the mark of a journal"),
    ],
)
def test_bad_options_are_refused(cli: Cli, words: tuple[str, ...], error: str) -> None:
    told = cli("audit", *words)

    assert told.returncode == 2 and error in " ".join(told.stderr.split())


def test_verify_names_the_changed_line_and_fails(decisions: Cli) -> None:
    mark = json.loads(decisions("audit", "verify", "--json").stdout)["mark"]
    assert decisions("audit", "verify", "--mark", mark).returncode == 0
    journal = user_journal().path
    journal.write_bytes(journal.read_bytes().replace(b'"held"', b'"allowed"'))

    told = decisions("audit", "verify")
    assert told.returncode == 4 and "line 2 was changed" in told.stdout
    found = json.loads(decisions("audit", "verify", "--json").stdout)
    assert (found["intact"], found["problem_count"], found["problems"][0]["first"]) == (False, 1, 2)


def test_a_launch_and_its_end_are_recorded(agent: Write, cli: Cli) -> None:
    agent("sleep 60")
    slug = launched(cli)
    cli("stop", slug)

    found = json.loads(cli("audit", "--json").stdout)["entries"]
    assert [(one["kind"], one["decision"], one["slug"], one["bottle"], one["agent"]) for one in found] == [
        ("launch", "started", slug, "small", "web"),
        ("stop", "ended", slug, "small", "web"),
    ]
    assert all(one["who"].startswith("person ") and one["what"]["backend"] == "fake" for one in found)


def test_a_launch_that_cannot_be_recorded_is_refused(agent: Write, cli: Cli) -> None:
    agent("sleep 60")
    user_journal().path.mkdir(parents=True)

    told = cli("run", "web", "--backend", "fake", "-d")
    assert told.returncode == 125 and "audit journal" in told.stderr
    user_journal().path.rmdir()
    assert json.loads(cli("list", "--json").stdout)["bottles"] == []
