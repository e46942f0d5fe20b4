"""A check of the journal names each line that was changed, removed, added or moved, whatever was done to the file."""

from __future__ import annotations

import hashlib
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.audit import Journal, Mark, Verification, verify

LINES = 12
Lines = list[bytes]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """The content of a journal of twelve lines, and of its head."""
    journal = Journal(tmp_path_factory.mktemp("audit") / "journal.jsonl")
    for number in range(1, LINES + 1):
        add(journal, f"rule {number}")
    return journal.path.read_bytes(), journal.head_path.read_bytes()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl")


def add(journal: Journal, rule: str) -> None:
    journal.add(
        "egress",
        "allowed",
        slug="web-3f9a1c",
        bottle="dev",
        agent="web",
        who="policy",
        rule=rule,
        what={"port": 443},
    )


def checked(journal: Journal, lines: Lines, head: bytes, mark: Mark | None = None) -> Verification:
    journal.path.write_bytes(b"".join(lines))
    journal.head_path.write_bytes(head)
    return verify(journal.path, mark=mark)


def named(found: Verification) -> set[tuple[str, int, int]]:
    return {(one.what, one.first, one.last) for one in found.problems}


def rehashed(line: bytes, **changes: object) -> bytes:
    """Return a line with other fields and a correct hash, as somebody makes it who knows the format."""
    fields = json.loads(line) | changes
    del fields["hash"]
    body = json.dumps(fields, separators=(",", ":"))[:-1].encode()
    return b'%s,"hash":"%s"}\n' % (body, hashlib.sha256(body).hexdigest().encode())


def swapped(lines: Lines) -> Lines:
    return [*lines[:4], lines[5], lines[4], *lines[6:]]


CASES: list[tuple[str, Callable[[Lines], Lines], set[tuple[str, int, int]]]] = [
    ("untouched", lambda lines: lines, set()),
    (
        "one character",
        lambda lines: [*lines[:4], lines[4].replace(b"rule 5", b"rule 6"), *lines[5:]],
        {("changed", 5, 5)},
    ),
    ("changed and rehashed", lambda lines: [*lines[:4], rehashed(lines[4], rule="x"), *lines[5:]], {("changed", 5, 6)}),
    ("the last, rehashed", lambda lines: [*lines[:11], rehashed(lines[11], rule="x")], {("changed", 12, 12)}),
    ("the first is missing", lambda lines: lines[1:], {("missing", 1, 1)}),
    ("some are missing", lambda lines: [*lines[:4], *lines[7:]], {("missing", 5, 7)}),
    ("the end is cut", lambda lines: lines[:9], {("missing", 10, 12)}),
    ("the end is cut in a line", lambda lines: [*lines[:9], lines[9][:50]], {("missing", 10, 12)}),
    ("all is gone", lambda _lines: [], {("missing", 1, 12)}),
    ("two are swapped", swapped, {("moved", 5, 5)}),
    ("one is moved to the end", lambda lines: [*lines[:2], *lines[3:], lines[2]], {("moved", 3, 3)}),
    ("one is repeated", lambda lines: [*lines[:5], lines[4], *lines[5:]], {("repeated", 5, 5)}),
    ("text is put in", lambda lines: [*lines[:4], b"hello\n", *lines[4:]], {("changed", 5, 5)}),
    ("an empty line is put in", lambda lines: [*lines, b"\n"], {("changed", 13, 13)}),
    (
        "NUL bytes",
        lambda lines: [*lines[:4], b"\0" * len(lines[4]), *lines[5:]],
        {("changed", 5, 5), ("missing", 5, 6)},
    ),
]


@pytest.mark.parametrize(("change", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_was_done_to_the_file_is_named(
    journal: Journal,
    written: tuple[bytes, bytes],
    change: Callable[[Lines], Lines],
    expected: set[tuple[str, int, int]],
) -> None:
    content, head = written

    assert named(checked(journal, change(content.splitlines(keepends=True)), head)) == expected


def test_lines_that_no_writer_added_are_found_although_they_have_correct_hashes(
    journal: Journal, written: tuple[bytes, bytes]
) -> None:
    lines = written[0].splitlines(keepends=True)
    for number in (13, 14):
        lines.append(rehashed(lines[-1], n=number, prev=json.loads(lines[-1])["hash"]))

    assert named(checked(journal, lines, written[1])) == {("foreign", 13, 14)}


def test_a_cut_end_stays_missing_when_more_is_written(journal: Journal, written: tuple[bytes, bytes]) -> None:
    checked(journal, written[0].splitlines(keepends=True)[:9], written[1])
    add(journal, "later")
    add(journal, "later")

    assert named(verify(journal.path)) == {("missing", 10, 12)}


def test_text_at_the_end_stays_and_is_found_when_more_is_written(
    journal: Journal, written: tuple[bytes, bytes]
) -> None:
    for junk in (b"hello\n", b"x" * 300_000):
        checked(journal, [written[0], junk], written[1])
        add(journal, "later")

        found = verify(journal.path)
        assert junk.strip() in journal.path.read_bytes() and not found.intact
        assert {one.what for one in found.problems} == {"changed"} and found.end.number == 13


@pytest.mark.parametrize("head", [b"", b"{}", b"\xff", b'{"count": -1, "hash": "", "end": 0, "latest": 0}', b"[" * 200])
def test_a_missing_or_damaged_head_is_a_problem(journal: Journal, written: tuple[bytes, bytes], head: bytes) -> None:
    assert named(checked(journal, [written[0]], head)) == {("head", 12, 12)}


def test_a_journal_written_anew_is_found_with_a_mark_of_the_old_one(
    journal: Journal, written: tuple[bytes, bytes]
) -> None:
    mark = checked(journal, [written[0]], written[1]).end
    assert checked(journal, [written[0]], written[1], mark).intact
    add(journal, "more")
    assert verify(journal.path, mark=mark).intact

    journal.path.unlink()
    journal.head_path.unlink()
    for number in range(1, LINES + 3):
        add(journal, f"rule {number}")
    assert named(verify(journal.path, mark=mark)) == {("mark", 12, 12)}


def test_an_empty_journal_is_intact(journal: Journal) -> None:
    found = verify(journal.path)

    assert found.intact and (found.lines, found.end.number) == (0, 0)
    assert verify(journal.path, mark=found.end).intact


@given(st.lists(st.integers(0, LINES - 1), max_size=2 * LINES))
def test_any_other_choice_or_order_of_lines_is_found(
    written: tuple[bytes, bytes], tmp_path: Path, order: list[int]
) -> None:
    lines = written[0].splitlines(keepends=True)

    found = checked(Journal(tmp_path / "journal.jsonl"), [lines[number] for number in order], written[1])
    assert found.intact == (order == [*range(LINES)])


@given(st.data())
def test_any_change_of_bytes_is_found(written: tuple[bytes, bytes], tmp_path: Path, data: st.DataObject) -> None:
    content = written[0]
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start, min(len(content), start + 40)))
    other = data.draw(st.binary(max_size=40))
    changed = content[:start] + other + content[end:]

    found = checked(Journal(tmp_path / "journal.jsonl"), [changed], written[1])
    # A last line without its newline was never complete; what is after the last newline is not part of the journal.
    assert found.intact == (changed[: changed.rfind(b"\n") + 1] == content)


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.dictionaries(st.text(), st.text(), max_size=4))
def test_any_text_is_written_and_read_back(tmp_path: Path, words: list[str], what: dict[str, str]) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for word in words:
        journal.add("push", "held", slug=word, bottle=word, agent=word, who=word, rule=word, what=what)

    assert verify(journal.path).intact
    assert [one.rule for one in journal.entries()][-len(words) :] == words
    assert [*journal.entries()][-1].what == what


def test_a_large_journal_is_checked_in_constant_memory_with_progress(
    journal: Journal, written: tuple[bytes, bytes]
) -> None:
    lines = [rehashed(written[0].splitlines(keepends=True)[0], n=1)]
    for number in range(2, 20_001):
        lines.append(rehashed(lines[-1], n=number, prev=json.loads(lines[-1])["hash"], rule="x" * 200))
    checked(journal, lines, written[1])
    del lines
    told = list[tuple[int, float]]()

    tracemalloc.start()
    found = verify(journal.path, progress=lambda count, fraction: told.append((count, fraction)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert found.lines == 20_000 and os.stat(journal.path).st_size > 2 * peak
    assert told == sorted(told) and len(told) == 4 and 0 < told[0][1] < told[-1][1] < 1


def test_a_thousand_faults_are_counted_and_a_hundred_are_told(journal: Journal, written: tuple[bytes, bytes]) -> None:
    found = checked(journal, [b"junk\n"] * 1000, written[1])

    assert (len(found.problems), found.problem_count) == (100, 1001)
