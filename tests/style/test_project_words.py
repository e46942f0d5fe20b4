"""Words that no file of the project may hold, and names that none may have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.style.project import ROOT, files, shown, text_of

FORBIDDEN_WORDS = {
    # The home of a bottle's user, and where Claude Code looks for the skills of root, are paths of a guest.
    "a path of somebody's machine": re.compile(
        r"(?<![\w.$}/-])/(?!home/agent\b|root/\.claude/)(work|opt|Users|home|root/\.\w+)/(?=\w)"
    ),
    "work that was left for later": re.compile(r"\b(TODO|FIXME|XXX)\b"),
    "what a merge left behind": re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE),
}
FOR_THE_USER = "TODO:"
"""How a template of instructions marks what the user of a new project fills in."""
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
PUBLIC_INDEX = {"https://pypi.org", "https://files.pythonhosted.org"}


def word_faults(path: Path) -> list[str]:
    """Return the forbidden words of a file, one sentence each."""
    text = text_of(path)
    if path.name == "CLAUDE.md" and path.is_relative_to(ROOT / "src" / "moot" / "templates"):
        text = text.replace(FOR_THE_USER, "")
    return [
        f"{shown(path)} holds {what}: {match.group()!r}"
        for what, pattern in FORBIDDEN_WORDS.items()
        for match in pattern.finditer(text)
    ]


def test_no_file_holds_a_forbidden_word() -> None:
    assert [fault for path in files() if path != Path(__file__) for fault in word_faults(path)] == []


@pytest.mark.parametrize(
    "line", ["see /work/notes", "cd /home/someone/x", "'/root/.config/x'", "x = 1  # TODO", "<<<<<<< HEAD"]
)
def test_a_forbidden_word_is_seen(tmp_path: Path, line: str) -> None:
    path = tmp_path / "file"
    path.write_text(line + "\n")

    assert len(word_faults(path)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "upperdir=/disk/root/upper",
        "mktemp x-XXXXXX",
        "https://x.org/home/page",
        "/root",
        "/home/agent/x",
        "/root/.claude/skills",
    ],
)
def test_a_harmless_line_is_left_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "file"
    path.write_text(line + "\n")

    assert word_faults(path) == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [shown(path) for path in files() if FORBIDDEN_NAMES & {path.stem, path.parent.name}] == []


def test_the_lock_names_only_the_public_index() -> None:
    hosts = set(re.findall(r"https?://[^/\"]+", (ROOT / "uv.lock").read_text()))

    assert hosts == PUBLIC_INDEX
