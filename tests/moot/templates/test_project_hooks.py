"""What the other hooks of a project tell the agent, and what they keep; inputs are as Claude Code 2.1 sends them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.style.project import ROOT

HOOKS = ROOT / "src/moot/templates/claude/hooks"
COMMON = {"session_id": "f3491572-f9bb-49ca-96f2-86978fd8aa77", "cwd": "/tmp", "permission_mode": "bypassPermissions"}


def run(hook: str, home: Path, **given: Any) -> tuple[dict[str, Any], str]:
    """Run a hook; return what it answers, and what it prints on stderr."""
    ended = subprocess.run(
        [HOOKS / hook],
        input=json.dumps(COMMON | given),
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout) if ended.stdout else {}, ended.stderr


@pytest.mark.parametrize("source", ["startup", "resume", "clear", "compact"])
def test_a_new_session_is_told_to_look_at_its_space(tmp_path: Path, source: str) -> None:
    answer, errors = run("auto-orient.sh", tmp_path, hook_event_name="SessionStart", source=source, model="opus")
    context = answer["hookSpecificOutput"]
    assert context["hookEventName"] == "SessionStart"
    for part in (source, "mcp__convo__orientation()", "mcp__convo__list_participants(detail='full')", "update_status"):
        assert part in context["additionalContext"]
    assert errors == ""


def grep(home: Path, lines: int, **search: str) -> str:
    found = {"mode": "content", "numFiles": 0, "filenames": [], "content": "x\n" * lines, "numLines": lines}
    given = {"hook_event_name": "PostToolUse", "tool_name": "Grep", "tool_response": found}
    answer, errors = run("grep-baseline-diff.sh", home, tool_input={"pattern": "x", **search}, **given)
    told = answer.get("hookSpecificOutput", {}).get("additionalContext", "")
    assert errors.strip() == told
    return str(told)


def test_a_search_that_finds_another_number_of_lines_is_told(tmp_path: Path) -> None:
    assert grep(tmp_path, 3) == ""
    assert grep(tmp_path, 3) == ""
    assert grep(tmp_path, 4, path="src") == "", "another folder is another search"
    assert grep(tmp_path, 5).startswith("NOTICE: grep baseline drift: 'x' in . found 3 lines, now 5")
    assert grep(tmp_path, 5) == ""


def test_counts_are_kept_where_no_other_user_can_reach_them(tmp_path: Path) -> None:
    grep(tmp_path, 3)
    folder = tmp_path / ".cache/moot"
    kept = list(folder.iterdir())
    assert len(kept) == 1
    assert [path.stat().st_mode & 0o777 for path in (folder, kept[0])] == [0o700, 0o600]
    kept[0].write_text("not JSON")
    assert grep(tmp_path, 4) == ""
    run("grep-baseline-diff.sh", tmp_path, session_id="../../x", tool_input={"pattern": "y"}, tool_response="")
    assert {path.parent for path in tmp_path.rglob("*.json")} == {folder}


def entry(kind: str, *blocks: dict[str, Any] | str, **more: Any) -> dict[str, Any]:
    content: Any = blocks[0] if len(blocks) == 1 and isinstance(blocks[0], str) else list(blocks)
    return {"type": kind, "message": {"role": kind, "content": content}, **more}


def call(name: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": f"mcp__convo__{name}", "input": given}


def warned(home: Path, *entries: dict[str, Any]) -> bool:
    path = home / "transcript.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in entries) + "\n{half a line")
    _, errors = run("handoff-status-check.sh", home, hook_event_name="Stop", transcript_path=str(path))
    assert errors == "" or errors.startswith("WARNING: handoff message with mentions detected")
    return bool(errors)


def test_a_handoff_without_a_status_is_warned_about(tmp_path: Path) -> None:
    asked, result = entry("user", "go on"), entry("user", {"type": "tool_result", "tool_use_id": "toolu_1"})
    said = entry("assistant", call("share", text="yours", mentions=["agt_2"]))
    status = entry("assistant", call("update_status", status="free"))

    assert warned(tmp_path, asked, said, result)
    assert not warned(tmp_path, asked, said, result, status, result)
    assert warned(tmp_path, asked, status, result, entry("user", "and again"), said, result), "a turn of its own"
    assert not warned(tmp_path, asked, said, result, asked), "an older turn"
    assert warned(tmp_path, asked, said, result, entry("user", "<system-reminder>x</system-reminder>", isMeta=True))
    assert not warned(tmp_path, asked, entry("assistant", call("share", text="to all", mentions=[])), result)


def test_a_text_that_looks_like_a_call_does_not_count(tmp_path: Path) -> None:
    asked = entry("user", "go on")
    text = {"type": "text", "text": 'mcp__convo__share "mentions":["agt_2"]'}
    assert not warned(tmp_path, asked, entry("assistant", text))
    said = entry("assistant", call("reply_to", event_id="evt_1", text="mcp__convo__update_status", mentions=["agt_2"]))
    assert warned(tmp_path, asked, said)


def test_without_a_transcript_nothing_is_said(tmp_path: Path) -> None:
    for path in ("/nowhere", "", None):
        assert run("handoff-status-check.sh", tmp_path, transcript_path=path) == ({}, "")


@pytest.mark.parametrize("hook", ["git-guard.sh", "grep-baseline-diff.sh", "handoff-status-check.sh"])
def test_an_input_of_another_shape_is_no_error(tmp_path: Path, hook: str) -> None:
    transcript = tmp_path / "transcript.jsonl"
    origin = {"type": "user", "message": {"content": "x"}, "origin": "y"}
    transcript.write_text(json.dumps({"type": "user", "message": [1]}) + "\n" + json.dumps(origin) + "\n")
    assert run(hook, tmp_path, tool_input=None, transcript_path=str(transcript)) == ({}, "")
    assert run(hook, tmp_path, tool_input=["x"]) == ({}, "")
