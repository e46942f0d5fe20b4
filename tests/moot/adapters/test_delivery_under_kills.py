"""No message to an agent is lost or doubled, whatever of the team is killed."""

from __future__ import annotations

from tests.moot.adapters.team import Team
from tests.moot.adapters.weather import left_behind, storm


def test_each_message_reaches_its_agent_once_although_everything_is_killed(workshop: Team) -> None:
    report = storm(workshop, messages=12, kills=4, seed=3)

    assert report.faults == 0, report
    assert report.addressed > 12
    assert left_behind(workshop.project) == []
