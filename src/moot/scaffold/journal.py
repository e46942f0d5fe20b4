"""The journal of an adoption: which agents a project gets, and the keys that it has so far.

It is written before the first key is asked for, and again after each key, durably: whatever is killed in between, the
next run continues with what is here. It is removed when the project has all its files.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from moot.config import MOOT_DIR, prepare_moot_folder
from moot.known_words import DEFAULT_PROFILE
from moot.scaffold.role_keys import default_role
from moot.team_profile import RoleProfile, TeamProfile, load_template
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.files import write_durable
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

_LARGEST = 1024 * 1024
_NAME = "adoption.json"


@dataclass(frozen=True)
class Member:
    """One agent of the plan. Without an id it is made, with this profile; without a key it is given one."""

    role: str
    display_name: str
    actor_id: str = ""
    api_key: str = ""
    profile: str = DEFAULT_PROFILE


@dataclass(frozen=True)
class Journal:
    """What an adoption does. `known` has the ids of the agents that were there before; `template` is a name or path."""

    api_url: str
    space_id: str
    space_name: str
    template: str
    members: tuple[Member, ...]
    known: tuple[str, ...] = field(default=())
    force: bool = False
    new_space: bool = False
    merge: bool = False
    """Whether the keys are added to those that the project has."""

    def with_member(self, member: Member) -> Journal:
        """Return the journal with the member of this role replaced."""
        members = tuple(member if one.role == member.role else one for one in self.members)
        return replace(self, members=members)

    def team(self) -> tuple[TeamProfile, Path | None]:
        """Return the team that the members are, and the folder of its template; None without one."""
        found = load_template(self.template) if self.template else (TeamProfile("custom"), None)
        profile, folder = found
        return team_of(profile, self.members), folder


def team_of(profile: TeamProfile, members: tuple[Member, ...]) -> TeamProfile:
    """Return a team that has only these members; roles that are left out own nothing, and work does not pass them."""
    roles: list[RoleProfile] = []
    for one in members:
        role = profile.role(one.role) or default_role(one.role, one.display_name)
        roles.append(replace(role, display_name=one.display_name))
    names = [role.name for role in roles]
    first = next(iter(names), "")
    pipeline = tuple(name for name in profile.workflow.pipeline if name in names)
    return replace(
        profile,
        roles=tuple(roles),
        workflow=replace(profile.workflow, pipeline=pipeline),
        git=replace(profile.git, ownership=_owners(profile.git.ownership, names, first)),
        resources=replace(profile.resources, owners=_owners(profile.resources.owners, names, first)),
    )


def _owners(owners: object, names: list[str], first: str) -> dict[str, str]:
    assert isinstance(owners, dict)
    return {what: owner if owner in names else first for what, owner in owners.items()}


def journal_path(folder: Path) -> Path:
    """Return where the journal of a project is while an adoption is not complete."""
    return folder / MOOT_DIR / _NAME


def write_journal(folder: Path, journal: Journal) -> None:
    """Write the journal of a project; once this has returned, it survives a crash."""
    prepare_moot_folder(folder)
    write_durable(journal_path(folder), json.dumps(asdict(journal), indent=2))


def read_journal(folder: Path) -> Journal | None:
    """Return the journal of an adoption that was interrupted; None when there is none. Raises `InvalidRequest`."""
    path = journal_path(folder)
    try:
        content, _ = read_regular(path, most=_LARGEST)
        if path.stat().st_mode & 0o077:  # as in a repository that somebody prepared
            raise NotSmallAndRegular("was not written by 'moot init': others can read it; remove it")
        found = json.loads(content)
        members = tuple(Member(**one) for one in found.pop("members"))
        return Journal(**{**found, "members": members, "known": tuple(found.pop("known"))})
    except FileNotFoundError:
        return None
    except NotSmallAndRegular as error:
        raise InvalidRequest(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidRequest(f"{path} is damaged", hint="it may hold keys of agents; move it away to start anew") from (
            error
        )
