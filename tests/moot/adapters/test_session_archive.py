"""The summary of a session, from its transcript."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from moot.adapters.session_archive import describe, find_transcript
from tests.moot.adapters.team import Team, in_time, text_of

LINES = [
    {"type": "user", "timestamp": "2026-01-01T00:00:00Z", "message": {"content": "hello"}},
    {
        "type": "assistant",
        "timestamp": "2026-01-01T00:01:30Z",
        "message": {"model": "opus", "content": [{"type": "tool_use"}, {"type": "text"}]},
    },
    {"type": "queue-operation", "timestamp": "2026-01-01T09:00:00Z"},
]


def written(home: Path, folder: Path, name: str = "s1") -> Path:
    path = home / ".claude/projects" / str(folder).replace("/", "-") / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in LINES) + '{"type": "user", "unfin')
    return path


def test_a_summary_has_five_lines_and_the_figures(tmp_path: Path) -> None:
    summary, figures = describe(written(tmp_path, tmp_path), role="spec", folder=tmp_path)
    assert summary.splitlines() == [
        "Session s1 of spec",
        "Duration: 90 s",
        "Messages: 2, tool calls: 1",
        "Model: opus",
        "Branch: none",
    ]
    assert (figures["message_count"], figures["user_count"], figures["tool_use_count"]) == (2, 1, 1)


def test_the_transcript_is_that_of_the_session_and_else_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    assert find_transcript(tmp_path, folder) is None
    old, new = written(tmp_path, folder, "old"), written(tmp_path, folder, "new")
    os.utime(old, (1, 1))
    assert find_transcript(tmp_path, folder) == new
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "old")
    assert find_transcript(tmp_path, folder) == old
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "../../old")
    assert find_transcript(tmp_path, folder, known=str(old)) == old


def test_a_session_is_archived_once(workshop: Team, tmp_path: Path) -> None:
    async def work() -> None:
        home = {"HOME": str(tmp_path)}
        async with workshop.tools("spec", **home) as session:
            none = await session.call_tool("archive_session", {})
            assert none.is_error and "No JSONL transcript" in text_of(none)
            written(tmp_path, workshop.project)
            first = await session.call_tool("archive_session", {})
            assert first.structured_content is not None and first.structured_content["session_id"] == "s1"
            again = await session.call_tool("archive_session", {})
            assert again.is_error and "conflict" in text_of(again)
            reset = await session.call_tool("request_context_reset", {})
            assert reset.is_error and "No tmux session 'moot-spec' found" in text_of(reset)

    in_time(work())
