"""The verbs for the team of a project: start, status, stop, hand off, and the check of what a team needs."""

from __future__ import annotations

from moot.team.doctor import Doctor
from moot.team.status import RoleStatus, TeamStatus
from moot.team.team import Team, TeamReport

__all__ = ["Doctor", "RoleStatus", "Team", "TeamReport", "TeamStatus"]
