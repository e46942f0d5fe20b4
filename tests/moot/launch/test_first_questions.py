"""A real Claude Code that asks a person about an API key at its start."""

from __future__ import annotations

from pathlib import Path

import pytest

from moot.agents.state import read_state
from moot.team import Team
from tests.moot.launch.project import NOBODY_LISTENS, Project, make_project, outcomes
from tests.style.project import ROOT
from tests.waiting import until


def test_a_key_that_nobody_has_confirmed_is_reported_as_waiting_for_the_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{ROOT / 'build/hosts/bin'}:/usr/bin:/bin")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdefghijklmnop")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", NOBODY_LISTENS)
    monkeypatch.setenv("CLAUDE_CODE_TMPDIR", str(tmp_path))
    for name in ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER"):
        monkeypatch.setenv(name, "1")
    project = make_project(tmp_path / "project", {"qa": {"startup_prompt": ""}}, permission_mode="acceptEdits")
    try:
        _answer(project)
    finally:
        Team.to_end(project.folder).down()
    assert project.left() == {}


def _answer(project: Project) -> None:
    report = project.team.up()

    assert outcomes(report) == {"qa": "waiting_for_you"} and not report.failed
    assert "your ANTHROPIC_API_KEY" in report.roles[0].message and "moot attach qa" in report.roles[0].hint
    first = project.team.status().waiting[0]
    assert (first.role, first.command) == ("qa", "moot attach qa") and "ANTHROPIC_API_KEY" in first.text
    for key in ("Up", "Enter"):
        project.runtime.press("qa", key)
    until("it has begun its work", lambda: read_state(project.folder / ".moot/run/qa") is not None)
    assert not [one for one in project.team.status().waiting if one.role]
