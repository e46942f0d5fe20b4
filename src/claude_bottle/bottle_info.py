"""The state of a launched bottle, from its record and its backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from claude_bottle import state
from claude_bottle.backend.glance import Glance
from claude_bottle.backend.table import backend_named
from claude_bottle.budget.report import uses_of
from claude_bottle.guard.presence import guard_problem
from claude_bottle.login_loan import has_login, keep_login
from claude_bottle.results import BottleInfo, BottleState
from claude_bottle.state import Record
from pyro_mcp.errors import NotFound, PyroError

if TYPE_CHECKING:
    from claude_bottle.backend import Bottle
    from claude_bottle.backend.interface import Inside


_ALIVE = ("running", "idle", "waiting for permission")


def bottle_of(record: Record) -> Bottle:
    """Return the bottle of a record; raise `NotFound` when its backend no longer has it."""
    try:
        return backend_named(record.backend).find(record.slug)
    except NotFound as error:
        raise NotFound(
            f"the {record.backend} backend has no bottle {record.slug} any more",
            hint=f"'claude-bottle stop {record.slug}' removes its record",
        ) from error


def info_of(record: Record) -> BottleInfo:
    """Return what is known about a bottle; its state is "unknown" when its backend fails."""
    found: BottleInfo = {
        "slug": record.slug,
        "agent": record.agent,
        "bottle": record.bottle,
        "backend": record.backend,
        "state": "launching" if record.phase == state.LAUNCHING else "gone",
        "exit_code": None,
        "folder": record.folder,
        "copied": record.copied,
        "created_at": record.created_at,
        "problems": [],
        "login": False,
        "budget": [],
    }
    try:
        found["login"] = has_login(record)
        found["budget"] = uses_of([record.slug]).get(record.slug, [])
        bottle = backend_named(record.backend).find(record.slug)
        found["exit_code"] = bottle.exit_code()
        glance = Glance(bottle)
        login_problem = keep_login(record, glance)
        found["state"] = "ended" if found["exit_code"] is not None else _agent_state(record, glance)
        its_guard_problem = guard_problem(record.slug) if found["state"] in _ALIVE else ""
        found["problems"] = [one for one in (login_problem, its_guard_problem) if one]
    except NotFound:
        pass
    except PyroError as error:
        found["state"], found["problems"] = "unknown", [error.message]
    return found


def unknown_info(slug: str) -> BottleInfo:
    """Return what is known of a bottle whose record cannot be read."""
    record = state.bottle_dir(slug) / "record.json"
    return {
        "slug": slug,
        "agent": "",
        "bottle": "",
        "backend": "",
        "state": "unknown",
        "exit_code": None,
        "folder": "",
        "copied": False,
        "created_at": record.stat().st_mtime if record.exists() else 0.0,
        "login": False,
        "problems": [f"its record cannot be read; 'claude-bottle stop {slug}' removes it"],
        "budget": [],
    }


def _agent_state(record: Record, bottle: Inside) -> BottleState:
    """Return the state that the harness of a running agent reports."""
    from claude_bottle.harness import harness_of  # noqa: PLC0415
    from claude_bottle.manifest import AgentConfig  # noqa: PLC0415 - slow to import, and few verbs need it

    harness = record.harness if isinstance(record.harness, str) else tuple(record.harness)
    word = harness_of(AgentConfig(bottle=record.bottle, harness=harness)).state(bottle)
    return next((known for known in get_args(BottleState) if known == word), "unknown")
