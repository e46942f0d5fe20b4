"""Decisions are appended once, completely, by any number of processes, and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import pwd
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from claude_bottle.audit import DECISIONS, DecisionKind, Journal, verify
from claude_bottle.audit import journal as journal_module
from claude_bottle.audit.head import Head
from pyro_mcp.errors import HostNotReady, InvalidRequest, NoSpace

WRITER = [sys.executable, str(Path(__file__).with_name("writer.py"))]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "audit" / "journal.jsonl")


def add(journal: Journal, rule: str = "pypi.org", kind: DecisionKind = "egress", **what: object) -> None:
    journal.add(kind, "allowed", slug="web-3f9a1c", bottle="dev", agent="web", who="policy", rule=rule, what=what)


def rules(journal: Journal) -> list[str]:
    return [one.rule for one in journal.entries()]


def test_a_decision_is_read_back_as_it_was_added(journal: Journal) -> None:
    journal.add(
        "push",
        "refused",
        slug="web-3f9a1c",
        bottle="dev",
        agent="web",
        who="person ada",
        rule="main",
        what={"ref": "x", "n": 3},
    )

    (entry,) = journal.entries()
    assert (entry.number, entry.kind, entry.decision, entry.who) == (1, "push", "refused", "person ada")
    assert (entry.slug, entry.bottle, entry.agent) == ("web-3f9a1c", "dev", "web")
    assert (entry.rule, entry.what) == ("main", {"ref": "x", "n": 3})
    assert verify(journal.path).intact


def test_the_person_is_the_user_of_the_process_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "mallory\nperson root")

    assert journal_module.person() == f"person {pwd.getpwuid(os.getuid()).pw_name}"


def test_the_files_are_private(journal: Journal) -> None:
    add(journal)

    assert {path.stat().st_mode & 0o777 for path in journal.path.parent.iterdir()} == {0o600}
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_kind_that_nobody_knows_is_refused(journal: Journal) -> None:
    with pytest.raises(InvalidRequest, match="no kind 'egres'"):
        add(journal, kind=cast(DecisionKind, "egres"))
    assert not journal.path.exists()


def test_only_a_decision_of_its_kind_is_taken(journal: Journal) -> None:
    with pytest.raises(InvalidRequest, match="no decision 'allowed' of the kind launch"):
        add(journal, kind="launch")
    assert not journal.path.exists()


def test_the_documentation_names_each_kind_and_its_decisions() -> None:
    page = Path(__file__).parents[3].joinpath("docs/bottles.md").read_text()

    rows = re.findall(r"^\| `(\w+)` \| ([a-z, ]+) \| ", page.partition("## The audit journal")[2], re.MULTILINE)
    assert {kind: tuple(decisions.split(", ")) for kind, decisions in rows} == DECISIONS


@pytest.mark.parametrize(
    "text", ["\x1b]0;owned\x07", "a\nb\r\x00", "\u202egpj.exe", "\ud800", "ü" * 100_000, '"}\n{"n":9']
)
def test_hostile_text_stays_in_its_one_line_of_printable_ascii(journal: Journal, text: str) -> None:
    what = {text: [text, {text: text}]}
    journal.add("egress", "allowed", slug=text, bottle=text, agent=text, who=text, rule=text, what=what)
    add(journal)

    first, second = journal.path.read_bytes().splitlines()
    assert all(0x20 <= byte < 0x7F for byte in first + second) and len(first) < 128 * 1024
    assert verify(journal.path).intact and len([*journal.entries()]) == 2


def test_a_text_that_is_cut_keeps_its_hash(journal: Journal) -> None:
    for end in "ab":
        add(journal, "x" * 10_000 + end)

    first, second = rules(journal)
    assert first.startswith("x" * 4000) and "10001 characters, sha256" in first and first != second


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, object(), b"\xff", {1: {2: {3: {4: {5: 6}}}}}])
def test_any_value_becomes_correct_json_of_bounded_size(journal: Journal, value: object) -> None:
    add(journal, what=value, many=list(range(100_000)))

    (line,) = journal.path.read_bytes().splitlines()
    json.loads(line)
    assert len(line) < 128 * 1024 and verify(journal.path).intact


def test_many_processes_write_one_unbroken_chain(journal: Journal) -> None:
    writers = [subprocess.Popen([*WRITER, str(journal.path), "100", f"w{number}"]) for number in range(6)]
    try:
        assert [one.wait(60) for one in writers] == [0] * 6
    finally:
        for one in writers:
            one.kill()

    found = verify(journal.path)
    assert found.intact and found.lines == 600
    for number in range(6):
        assert [rule for rule in rules(journal) if rule.startswith(f"w{number} ")] == [
            f"w{number} {n}" for n in range(100)
        ]


def test_writers_killed_at_any_moment_break_no_chain_and_lose_no_line_they_reported(journal: Journal) -> None:
    for attempt in range(12):
        with subprocess.Popen([*WRITER, str(journal.path), "1000000", f"w{attempt}"], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            reported = [writer.stdout.readline() for _ in range(1 + 7 * attempt)]
            writer.kill()
            reported += writer.stdout.read().splitlines(keepends=True)
        last = next(line for line in reversed(reported) if line.endswith(b"\n"))
        assert verify(journal.path).intact
        assert f"w{attempt} {last.decode().strip()}" in rules(journal)
    add(journal)
    assert verify(journal.path).intact


def test_a_line_without_its_head_is_taken_over(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    add(journal, "one")
    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "write_head", lambda _path, _head: None)  # killed after the line
        add(journal, "two")
    assert verify(journal.path).intact

    add(journal, "three")
    assert rules(journal) == ["one", "two", "three"]
    assert verify(journal.path).intact


@pytest.mark.parametrize("kept", [1, 40, 200])
def test_an_incomplete_line_is_removed_by_the_next_writer(journal: Journal, kept: int) -> None:
    add(journal, "one")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + whole[:kept])
    assert verify(journal.path).intact and rules(journal) == ["one"]

    add(journal, "two")
    assert rules(journal) == ["one", "two"] and verify(journal.path).intact


def test_a_first_writer_that_died_before_the_head_is_followed(journal: Journal) -> None:
    add(journal, "one")
    journal.head_path.unlink()

    add(journal, "two")
    assert verify(journal.path).intact and rules(journal) == ["one", "two"]


def test_a_journal_whose_head_is_gone_takes_no_more_lines(journal: Journal) -> None:
    add(journal)
    add(journal)
    journal.head_path.unlink()

    with pytest.raises(HostNotReady, match="head of the audit journal is missing"):
        add(journal)
    assert len(rules(journal)) == 2


def test_a_journal_that_was_moved_away_begins_anew(journal: Journal) -> None:
    add(journal, "old")
    journal.path.parent.rename(journal.path.parent.with_name("kept"))

    add(journal, "new")
    assert rules(journal) == ["new"] and verify(journal.path).intact


def test_a_file_that_cannot_grow_fails_the_caller_and_leaves_the_chain(journal: Journal) -> None:
    script = Path(__file__).with_name("limited_writer.py")
    told = subprocess.run(
        [sys.executable, script, journal.path], capture_output=True, text=True, timeout=60, check=False
    )

    assert (told.returncode, told.stderr) == (0, "")
    assert "cannot write the audit journal" in told.stdout
    assert rules(journal) == ["before", "after"] and verify(journal.path).intact


def test_a_full_disk_is_reported_as_one(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    add(journal, "before")

    def full(_path: Path, _head: Head) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "write_head", full)
        with pytest.raises(NoSpace, match="is full"):
            add(journal, "refused")
    assert rules(journal) == ["before"] and verify(journal.path).intact


def test_since_finds_the_lines_of_a_time_without_reading_the_others(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1, 100_000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    for number in range(1, 2001):
        add(journal, str(number))

    for since in (0, 1, 1500, 1999.5, 2000, 2001):
        assert rules_since(journal, since) == [str(number) for number in range(1, 2001) if number >= since]
    assert len([*journal.lines(since=1990)]) < 400


def test_since_finds_lines_that_were_added_after_the_clock_was_set_back(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [float(number) for number in (*range(1, 1000), *range(500, 1500), *range(200, 400))]
    clock = iter(times)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    for number in range(len(times)):
        add(journal, str(number))

    for since in (1, 300, 700, 1200, 1600):
        assert rules_since(journal, since) == [str(number) for number, at in enumerate(times) if at >= since]


def rules_since(journal: Journal, since: float) -> list[str]:
    return [one.rule for one in journal.entries(since=since)]


def test_entries_of_one_bottle_or_kind_are_chosen(journal: Journal) -> None:
    add(journal, "a")
    add(journal, "b", kind="push")
    journal.add("push", "held", slug="other-000000", bottle="other", agent="o", who="policy", rule="c", what={})

    assert [one.rule for one in journal.entries(kind="push")] == ["b", "c"]
    assert [one.rule for one in journal.entries(kind="push", slug="web-3f9a1c")] == ["b"]
    assert [one.rule for one in journal.entries(bottle="other")] == ["c"]
