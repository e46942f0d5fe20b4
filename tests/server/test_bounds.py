"""No result is longer than a model can take."""

from __future__ import annotations

import json

import pytest

from pyro_mcp.server.bounds import LONGEST_LIST, LONGEST_RESULT, LONGEST_TEXT, bounded, shortened


def test_a_short_result_is_left_as_it_is() -> None:
    result = {"stdout": "x" * LONGEST_TEXT, "entries": [{"path": "a"}] * LONGEST_LIST, "none": None, "n": 1.5}

    assert bounded(result) == (result, False)


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    told = shortened("a" * 50_000 + "b" * 50_000)

    assert told.startswith("aaa") and told.endswith("bbb")
    assert len(told) < LONGEST_TEXT + 100 and "75424 characters left out" in told


@pytest.mark.parametrize(
    "result",
    [
        {"entries": [{"path": f"a/{number}", "text_patch": "+x\n" * 5_000} for number in range(1_000)]},
        {"count": 100_000, "entries": [{"path": f"a/{number}"} for number in range(100_000)]},
        {"one": "\0" * 10_000_000, "two": "é" * 10_000_000},
    ],
    ids=["many long texts", "many entries", "much to escape"],
)
def test_however_long_it_is_the_result_stays_within_bounds(result: dict[str, object]) -> None:
    shown, cut = bounded(result)

    assert cut and shown.keys() == result.keys()
    assert len(json.dumps(shown)) <= LONGEST_RESULT
