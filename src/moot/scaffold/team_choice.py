"""Choose the team of a project: the one that is asked for, else that of its `moot.toml`, else what fits its agents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from moot.config import MOOT_TOML, read_config
from moot.scaffold.role_keys import CUSTOM, infer_template
from moot.team_profile import TEAMS_DIR, TeamProfile, load_template, resolve_template
from pyro_mcp.errors import NotFound


def choose_team(
    asked: str | None, project: Path, names: Sequence[str], *, read_moot_toml: bool = True
) -> tuple[str, TeamProfile | None]:
    """Return the template (as `template_source` does) and its team; "" and None for a team without a template.

    `names` are those of the agents. Raises `NotFound` and `InvalidRequest`.
    """
    if asked is not None:
        return _loaded(template_source(asked))
    path = project / MOOT_TOML
    named = read_config(path).template if read_moot_toml and path.is_file() else None
    if named == CUSTOM:
        return "", None
    if named:
        try:
            return _loaded(template_source(named))
        except NotFound:  # a template of somebody else's; the agents decide
            pass
    return _inferred(names)


def template_source(template: str) -> str:
    """Return a template as it is recorded: the name of one of ours, else an absolute path. Raises `NotFound`."""
    folder = resolve_template(template)
    return folder.name if folder.parent == TEAMS_DIR else str(folder)


def _loaded(template: str) -> tuple[str, TeamProfile]:
    return template, load_template(template)[0]


def _inferred(names: Iterable[str]) -> tuple[str, TeamProfile | None]:
    found = infer_template(names)
    return (found.name, found) if found else ("", None)
