"""Screens of the agent programs, as they draw them: with the focus at an empty prompt, and with anything else."""

from __future__ import annotations

import pytest

from moot.agents.screen import Screen
from moot.harness import harness_named

RULE = "\u2500" * 60
DIALOG = "\u2594" * 60
CODEX_FOOT = ("", "  scripted default \u00b7 /tree", "  ? for shortcuts")
BOX_END = "  \u2579" + "\u2580" * 60
BUILD = "  \u2503  Build \u00b7 Claude Sonnet 4.5 Anthropic" + " " * 40 + "12 tokens"


def screen(rows: list[str], cursor: tuple[int, int], *, shows_cursor: bool = False) -> Screen:
    return Screen(("some output", *(row.rstrip() for row in rows)), cursor[0] + 1, cursor[1], shows_cursor)


CLAUDE = [
    (["", RULE, "\u276f\u00a0", RULE, "  accept edits on"], (2, 2), True),
    (["", RULE, '\u276f\u00a0Try "fix the tests"', RULE], (2, 2), True),
    (["", RULE, "\u276f\u00a0half a sentence", RULE], (2, 17), False),
    (["", RULE, "\u276f\u00a0half a sentence", RULE], (2, 2), False),
    (["", RULE, "\u276f\u00a0half", "  a sentence", RULE], (3, 12), False),
    (["", RULE, "\u276f\u00a0", "", RULE], (3, 2), None),
    (["", RULE, "!\u00a0", RULE, "  ! for shell mode"], (2, 2), None),
    (["Do you want to proceed?"], (0, 0), None),
    # The agent has drawn a prompt, and a dialog is below it.
    ([RULE, "\u276f\u00a0", RULE, DIALOG, "  Select model", "  \u276f 1. Default", "    2. Opus"], (5, 2), None),
]
CODEX = [
    (["\u203a Ask Codex to do anything", *CODEX_FOOT], (0, 2), True),
    (["\u203a hello there", *CODEX_FOOT], (0, 13), False),
    (["\u203a hello", "  there", *CODEX_FOOT], (1, 7), False),
    (["\u203a hello there", *CODEX_FOOT], (0, 2), False),
    (["\u203a go", "", "! ", *CODEX_FOOT], (2, 2), None),
    (["\u203a Ask Codex to do anything", "  Custom review", "", "  name", "", "  enter submit"], (3, 2), None),
    (["\u203a Type instructions and press Enter", "", "  enter submit \u00b7 esc back"], (0, 2), None),
]
EMPTY_BOX = ["  \u2503", "  \u2503", "  \u2503", BUILD, BOX_END]
OPENCODE = [
    (EMPTY_BOX, (1, 5), True),
    (["  \u2503", '  \u2503  Ask anything... "Fix it"', *EMPTY_BOX[2:]], (1, 5), True),
    (["  \u2503", "  \u2503  hello", *EMPTY_BOX[2:]], (1, 10), False),
    (["  \u2503", "  \u2503  hello", "  \u2503", *EMPTY_BOX[2:]], (2, 5), False),
    (["  \u2503", "  \u2503", *EMPTY_BOX[1:]], (2, 5), None),
    (["  \u2503", "  \u2503", "  \u2503", "  \u2503  Shell", BOX_END], (1, 5), None),
    (["    Commands", "    Search", "", *EMPTY_BOX], (1, 9), None),
    (["no box at all"], (0, 5), None),
]
CASES = [
    (name, *one) for name, many in [("claude-code", CLAUDE), ("codex", CODEX), ("opencode", OPENCODE)] for one in many
]


@pytest.mark.parametrize(("name", "rows", "cursor", "empty"), CASES)
def test_a_prompt_is_empty_only_if_the_screen_shows_it_with_the_focus(
    name: str, rows: list[str], cursor: tuple[int, int], empty: bool | None
) -> None:
    found = screen(rows, cursor, shows_cursor=name != "claude-code")
    assert harness_named(name).prompt_is_empty(found) is empty


@pytest.mark.parametrize(("name", "rows"), [("codex", CODEX[0][0]), ("opencode", EMPTY_BOX)])
def test_a_prompt_without_the_cursor_has_not_the_focus(name: str, rows: list[str]) -> None:
    column = {"codex": (0, 2), "opencode": (1, 5)}[name]
    assert harness_named(name).prompt_is_empty(screen(rows, column)) is None
