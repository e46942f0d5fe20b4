"""No guest fills the journal, and no decision is lost in a flood."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_bottle.audit import Journal, user_journal, verify
from claude_bottle.guard.bottle_journal import AT_ONCE, MOST_RULES, BottleJournal
from claude_bottle.guard.settings import GuardSettings
from pyro_mcp.errors import HostNotReady, PyroError, TooManyRequests
from tests.bottles.guard.conftest import Guard

SETTINGS = GuardSettings(
    guard="g1", slug="web-1", bottle="small", agent="web", backend="pyro", rules={}, config={}, manifest_files=()
)  # fmt: skip


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "audit" / "journal.jsonl")


@pytest.fixture
def flooded(journal: Journal) -> Iterator[BottleJournal]:
    """The writer of a bottle that has used up its burst of allowed connections, and gains no more."""
    bottle = BottleJournal(journal, SETTINGS, lambda: 0.0)
    for _ in range(AT_ONCE):
        bottle.add("egress", "allowed", rule="pypi.org:443", what={})
    yield bottle
    bottle.close()


def test_a_flood_is_announced_and_counted_by_rule_and_person(flooded: BottleJournal, journal: Journal) -> None:
    for number in range(300):
        who = "person ann" if number % 3 else "policy"
        flooded.add("egress", "allowed", rule=f"h{number % 2}.example:443", what={"path": f"/{number}"}, who=who)

    found = list(journal.entries())
    assert len(found) == AT_ONCE + 1 and found[-1].rule == "h0.example:443" and "counting" in found[-1].what
    flooded.close()

    counted = list(journal.entries())[AT_ONCE + 1 :]
    assert [(one.kind, one.decision, one.who, one.what["count"]) for one in counted] == [
        ("egress", "allowed", "person ann", 200),
        ("egress", "allowed", "policy", 99),
    ]
    assert counted[0].what["rules"] == {"h0.example:443": 100, "h1.example:443": 100}
    assert verify(journal.path).intact


def test_a_flood_of_what_is_allowed_hides_no_refusal_and_no_approval(flooded: BottleJournal, journal: Journal) -> None:
    for _ in range(5000):
        flooded.add("egress", "allowed", rule="pypi.org:443", what={})
    flooded.add("egress", "refused", rule="evil.example:443", what={"reason": "not in the allow list"})
    for _ in range(600):
        flooded.add("push", "allowed", rule="origin main", what={}, who="person ann")

    found = list(journal.entries())[AT_ONCE + 1 :]
    assert [one.decision for one in found] == ["refused"] + 600 * ["allowed"]


def test_refusals_are_counted_with_their_reasons(journal: Journal) -> None:
    bottle = BottleJournal(journal, SETTINGS, lambda: 0.0)
    for number in range(AT_ONCE + 50):
        bottle.add("push", "refused", rule="git.remotes", what={"request": f"/{number}", "reason": "no such remote"})
    bottle.close()

    assert list(journal.entries())[-1].what["rules"] == {"git.remotes no such remote": 49}


def test_each_allowed_host_of_a_flood_is_named_or_refused(flooded: BottleJournal, journal: Journal) -> None:
    names = [f"h{number}.example:443" for number in range(MOST_RULES + 1)]
    for name in names:
        flooded.add("egress", "allowed", rule=name, what={})
    with pytest.raises(TooManyRequests, match="different hosts at once"):
        flooded.add("egress", "allowed", rule="another.example:443", what={})
    flooded.close()

    lines = [one for one in journal.entries() if "rules" in one.what]
    assert lines[0].what["rules"] == dict.fromkeys(names[1:], 1)


def test_names_of_any_characters_fit_into_one_line(journal: Journal) -> None:
    bottle = BottleJournal(journal, SETTINGS, lambda: 0.0)
    for number in range(AT_ONCE + 1 + MOST_RULES):
        bottle.add("budget", "refused", rule="", what={"model": f'{number}"\\\n\u202e\U0001f600' * 50})
    bottle.close()

    rules = list(journal.entries())[-1].what["rules"]
    assert isinstance(rules, dict) and sum(rules.values()) == MOST_RULES


def test_what_was_counted_and_cannot_be_written_stops_what_would_follow(
    flooded: BottleJournal, journal: Journal
) -> None:
    for _ in range(3):
        flooded.add("egress", "allowed", rule="pypi.org:443", what={})
    journal.head_path.rename(journal.path.with_name("moved"))
    with pytest.raises(HostNotReady):
        flooded.close()
    with pytest.raises(PyroError):
        flooded.add("egress", "allowed", rule="pypi.org:443", what={})

    journal.path.with_name("moved").rename(journal.head_path)
    flooded.add("egress", "allowed", rule="pypi.org:443", what={})
    assert [one.what["count"] for one in journal.entries() if "count" in one.what] == [2]


def test_a_guest_that_connects_without_end_leaves_few_lines_of_its_guard(guard: Guard) -> None:
    bottle = guard(rules=["pypi.org"])
    for _ in range(2 * AT_ONCE):
        bottle.gateway.allowed("pypi.org")
    bottle.gateway.close()
    assert bottle.ended()

    lines = list(user_journal().entries(kind="egress"))
    counted = [int(str(one.what["count"])) for one in lines if "count" in one.what]
    assert len(lines) < 1.5 * AT_ONCE and len(lines) - len(counted) + sum(counted) == 2 * AT_ONCE
