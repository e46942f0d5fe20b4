"""The lines of the audit journal about launches and ends of bottles."""

from __future__ import annotations

from claude_bottle import state
from claude_bottle.audit import user_journal
from claude_bottle.audit.journal import person
from claude_bottle.state import Record
from pyro_mcp.errors import PyroError


def record_launch(record: Record) -> None:
    """Record a launch before anything is started; raises `PyroError`. Arguments may hold secrets, and are left out."""
    user_journal().add(
        "launch",
        "started",
        slug=record.slug,
        bottle=record.bottle,
        agent=record.agent,
        who=person(),
        rule=record.bottle,
        what={
            "backend": record.backend,
            "folder": record.folder,
            "copied": record.copied,
            "manifest_files": record.manifest_files,
        },
    )


def record_end(slug: str, backend: str) -> None:
    """Record that a bottle was ended by a command; raises `PyroError`."""
    try:
        record = state.read(slug)
    except PyroError:  # damaged: its agent is unknown
        record = None
    agent, bottle = (record.agent, record.bottle) if record else ("", "")
    user_journal().add(
        "stop",
        "ended",
        slug=slug,
        bottle=bottle,
        agent=agent,
        who=person(),
        rule=bottle,
        what={"backend": backend},
    )
