"""No result is longer than a model gets, and what is left out is said."""

from __future__ import annotations

import json

import pytest

from pyro_mcp.mcp_server.bounds import (
    LONGEST_FIELD,
    LONGEST_LIST,
    LONGEST_PART,
    LONGEST_RESULT,
    MOST_LINES,
    beginning,
    bounded,
    shared,
    shortened,
)


def test_a_short_result_is_left_as_it_is() -> None:
    result = {"stdout": "x" * LONGEST_FIELD, "entries": [{"path": "a"}] * LONGEST_LIST, "n": 1.5}

    assert bounded(result) == result


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    told = shortened("a" * 50_000 + "b" * 50_000)

    assert told.startswith("aaa") and told.endswith("bbb")
    assert len(told) < LONGEST_PART + 100 and "91000 bytes left out" in told


def test_what_was_cut_before_counts_as_left_out() -> None:
    assert "991000 bytes left out" in shortened("x" * 20_000, of=1_000_000)


@pytest.mark.parametrize("text", ["日本" * 20_000, "1\n" * 4_400, "\n" * 3_000], ids=["wide", "lines", "empty"])
def test_a_text_of_wide_characters_or_of_many_lines_is_shortened_too(text: str) -> None:
    told = shortened(text)

    assert "bytes left out" in told
    assert len(told.encode()) < LONGEST_PART + 100 and told.count("\n") < MOST_LINES + 10


def test_a_beginning_is_of_whole_lines_and_the_rest_is_counted() -> None:
    text = "line\n" * 10_000

    shown, rest = beginning(text, 1_000)

    assert shown == "line\n" * 200 and rest == len(text) - 1_000
    assert beginning("x" * 2_000, 1_000) == ("x" * 1_000, 1_000)
    assert beginning(text[:50], 1_000) == (text[:50], 0)


def test_what_a_short_text_leaves_is_for_the_others() -> None:
    assert shared(["x" * 10_000, "y" * 100], 1_000) == [900, 100]
    assert shared(["x" * 10_000, "y" * 10_000], 1_000) == [500, 500]
    assert shared([], 1_000) == []


@pytest.mark.parametrize(
    "result",
    [
        {"entries": [{"path": f"a/{number}", "text_patch": "+x\n" * 5_000} for number in range(1_000)]},
        {"count": 100_000, "entries": [{"path": f"a/{number}"} for number in range(100_000)]},
        {"one": "\0" * 10_000_000, "two": "é" * 10_000_000},
    ],
    ids=["many long texts", "many entries", "much to escape"],
)
def test_however_long_it_is_the_data_stays_within_bounds(result: dict[str, object]) -> None:
    shown = bounded(result)

    assert shown != result and shown.keys() == result.keys()
    assert len(json.dumps(shown)) <= LONGEST_RESULT
