"""One member of a commented JSON changes, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host import jsonc

PATH = ("mcp", "pyro")
OURS = {"type": "local", "command": ["/bin/pyro", "mcp", "serve"]}

COMMENTED = """\
// my settings
{
    "$schema": "https://opencode.ai/config.json", // not "mcp": {}
    /* two
       lines */
    "theme": "a // b",
    "mcp": {
        "mine": { "type": "local", "command": ["x", /* y */ "z",], }, // keep
    },
    "last": 1.50
}
"""

_scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
_documents: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["a", "b", "theme", "é"]), _values, max_size=4
).flatmap(
    lambda top: st.dictionaries(st.sampled_from(["mine", "other"]), _values, max_size=2).map(
        lambda servers: {**top, "mcp": servers} if servers else top
    )
)


@st.composite
def texts(draw: st.DrawFn) -> tuple[dict[str, object], str]:
    """A document, and a text of it with comments and trailing commas where they may stand."""
    document = draw(_documents)
    lines = []
    for line in json.dumps(document, indent=draw(st.sampled_from([None, 1, 4, "\t"]))).split("\n"):
        lines.append(line + draw(st.sampled_from(["", " // }, {", " /* , */", "  "])))
        lines += draw(st.sampled_from([[], ['// alone " [', ""], ["/* two", "lines */"]]))
    head, newline = draw(st.sampled_from(["", "// top\n", "\ufeff"])), draw(st.sampled_from(["\n", "\r\n"]))
    return document, newline.join([head, *lines])


@given(texts())
def test_what_is_set_is_there_and_what_was_there_stays(case: tuple[dict[str, object], str]) -> None:
    document, text = case
    servers = document.get("mcp", {})
    assert isinstance(servers, dict)

    after = jsonc.with_member(text, PATH, OURS)

    assert jsonc.parse(text).value == document
    assert jsonc.parse(after).value == {**document, "mcp": {**servers, "pyro": OURS}}
    assert jsonc.with_member(after, PATH, OURS) == after
    assert jsonc.parse(jsonc.without_member(after, PATH)).value == {**document, "mcp": servers}


@given(texts())
def test_every_comment_survives_both_ways(case: tuple[dict[str, object], str]) -> None:
    _, text = case

    there = jsonc.with_member(text, PATH, OURS)
    back = jsonc.without_member(there, PATH)

    for comment in ("// }, {", "/* , */", "// alone", "/* two"):
        assert there.count(comment) == back.count(comment) == text.count(comment)


def test_a_member_is_added_in_the_style_of_the_file() -> None:
    after = jsonc.with_member(COMMENTED, PATH, OURS)

    added = after.splitlines()[len(COMMENTED.splitlines()) - 3 : -3]
    assert added[0] == '        "pyro": {' and added[1] == '            "type": "local",'
    assert [line for line in after.splitlines() if line not in added] == [
        line for line in COMMENTED.splitlines() if line not in added
    ]


def test_a_brace_between_two_comments_of_one_line_is_seen() -> None:
    text = '{"mcp": // c\n{\n"q":{\n  } ,/* b */}/* b */\n  }'
    after = jsonc.with_member(text, PATH, OURS)
    assert jsonc.parse(after).value == {"mcp": {"q": {}, "pyro": OURS}}


def test_what_was_added_beside_others_is_taken_out_without_a_trace() -> None:
    assert jsonc.without_member(jsonc.with_member(COMMENTED, PATH, OURS), PATH) == COMMENTED


def test_the_last_of_two_members_of_one_name_counts() -> None:
    text = '{"mcp": {"a": 1}, "mcp": {"b": 2}}'

    assert jsonc.parse(jsonc.with_member(text, ("mcp", "b"), 3)).value == {"mcp": {"b": 3}}


@pytest.mark.parametrize("text", ["", "  \n", "// nothing yet\n"])
def test_an_empty_file_becomes_a_document(text: str) -> None:
    after = jsonc.with_member(text, PATH, OURS)

    assert after.startswith(text) and jsonc.parse(after).value == {"mcp": {"pyro": OURS}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"a": 1', "line 1, column 8"),
        ('{\n  "a" 1}', "line 2, column 7"),
        ("{'a': 1}", "line 1, column 2"),
        ('{"a": 1} x', "line 1, column 10"),
        ('{"a": tru}', "line 1, column 7"),
        ("[" * 1000, "line 1, column 102"),
        ('{"a": 1 /* no end', "line 1, column 9"),
    ],
)
def test_a_text_that_is_not_valid_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidRequest, match=place):
        jsonc.with_member(text, PATH, OURS)


def test_a_value_on_the_way_that_is_no_object_is_left_alone() -> None:
    with pytest.raises(InvalidRequest, match="mcp is not an object"):
        jsonc.with_member('{"mcp": []}', PATH, OURS)
