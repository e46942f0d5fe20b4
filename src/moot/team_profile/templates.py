"""The templates of teams: those that come with this program, and folders of the user."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from moot.team_profile.profile import TeamProfile
from pyro_mcp.errors import NotFound
from pyro_mcp.hints import near_match

TEAMS_DIR = Path(str(files("moot"))) / "templates" / "teams"
_PREFIX = "mootup/"
"""Names of the published templates begin with it."""
_FILE = "team.toml"


def builtin_templates() -> list[str]:
    """Return the names of the templates that come with this program, sorted."""
    return sorted(path.parent.name for path in TEAMS_DIR.glob(f"*/{_FILE}"))


@cache
def builtin_profile(name: str) -> TeamProfile:
    """Return the team of such a template, also as `mootup/NAME`. Raises `NotFound`; never reads another folder."""
    plain = name.removeprefix(_PREFIX)
    if plain not in builtin_templates():
        raise _unknown(name)
    return TeamProfile.from_toml(TEAMS_DIR / plain / _FILE)


def resolve_template(name_or_path: str) -> Path:
    """Return the folder of a template: a folder with a `team.toml`, else one that comes with this program.

    Raises `NotFound`.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir() and (folder / _FILE).is_file():
        return folder.absolute()
    plain = name_or_path.removeprefix(_PREFIX)
    if plain in builtin_templates():
        return TEAMS_DIR / plain
    if folder.is_dir():
        raise NotFound(f"{name_or_path} has no {_FILE}", hint=f"write one there, or choose from {_all()}")
    raise _unknown(name_or_path)


def load_template(name_or_path: str) -> tuple[TeamProfile, Path]:
    """Return the team of a template and its folder. Raises `NotFound` and `InvalidRequest`."""
    folder = resolve_template(name_or_path)
    return TeamProfile.from_toml(folder / _FILE), folder


def default_theme(role: str) -> str | None:
    """Return the colour that a role with this name has in the templates; None when none has it."""
    found = (builtin_profile(name).role(role.lower()) for name in builtin_templates())
    return next((one.theme for one in found if one is not None), None)


def _unknown(name: str) -> NotFound:
    hint = near_match(name, builtin_templates()) or "give a name from the list, or the path of a folder with team.toml"
    return NotFound(f"Template {name[:100]!r} not found. Available: {_all()}", hint=hint)


def _all() -> str:
    return ", ".join(builtin_templates())
