"""Records of launched bottles: one private folder each, below `$XDG_STATE_HOME/claude-bottle/bottles`.

    SLUG/record.json   the `Record`
    SLUG/owner         locked while a process launches or removes the bottle
    SLUG/stage/        what the backend keeps; prompt.txt in it has the agent's prompt

A process holds the owner lock while the record says "launching" or "removing". The kernel releases the lock when the
process dies. So such a record with a free lock was left by a killed process; `abandoned` finds it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType

from pyro_mcp.errors import Busy, HostNotReady, InvalidRequest, NotFound
from pyro_mcp.hints import near_match
from pyro_mcp.host.files import locked, private_directory, state_home, write_atomic, write_private
from pyro_mcp.host.process import run

_PROGRAM = "claude-bottle"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LONGEST_NAME = 33  # of an agent, in a slug; "-" and six hexadecimal digits follow
_LOCK_SECONDS = 30.0
_REMOVAL_SECONDS = 600.0

LAUNCHING, LAUNCHED, REMOVING = "launching", "launched", "removing"
"""The phases of a record."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A launched bottle: `folder` is the working folder of its launch, `copied` tells if its tree is a copy of that.

    `budget_file` is the manifest's file whose launches of this bottle share the budgets of a day and of all runs.
    """

    slug: str
    agent: str
    bottle: str
    backend: str
    folder: str
    copied: bool
    harness: str | list[str]
    created_at: float
    phase: str = LAUNCHING
    args: list[str] = field(default_factory=list)
    manifest_files: list[str] = field(default_factory=list)
    budget_file: str = ""


# A record without a phase, with which nobody can say that its bottle was abandoned, is damaged too.
_NEEDED: Mapping[str, type | UnionType] = {
    **dict.fromkeys(("slug", "agent", "bottle", "backend", "folder", "phase"), str),
    "copied": bool,
    "harness": str | list,
    "created_at": int | float,
}


def bottles_home() -> Path:
    """Return the folder of all bottles, made if missing. Raises `HostNotReady` when another user could write there."""
    return private_directory(state_home(_PROGRAM) / "bottles")


def new_slug(agent_name: str) -> str:
    """Return an unused name for a bottle of this agent: 2 to 40 characters of a-z, 0-9 and "-"."""
    word = re.sub(r"[^a-z0-9]+", "-", agent_name.lower())[:_LONGEST_NAME].strip("-") or "agent"
    while (bottles_home() / (slug := f"{word}-{secrets.token_hex(3)}")).exists():
        pass
    return slug


def bottle_dir(slug: str) -> Path:
    """Return the folder of one bottle; it need not exist. Raises `NotFound` for a word that cannot name one."""
    if not _SLUG.fullmatch(slug):
        raise NotFound(f"there is no bottle {slug!r}", hint="'claude-bottle list' shows the bottles")
    return bottles_home() / slug


def stage_dir(slug: str) -> Path:
    """Return the private folder of a bottle in which its backend keeps what it needs; it need not exist."""
    return bottle_dir(slug) / "stage"


def prompt_file(stage: Path) -> Path:
    """Return the file in a stage folder that has the agent's prompt."""
    return stage / "prompt.txt"


def write_prompt(path: Path, prompt: str) -> None:
    """Write the prompt of an agent to a new file that only this user can read."""
    try:
        content = prompt.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            "the agent's prompt has half of a surrogate pair, which UTF-8 cannot encode",
            hint="remove that character from the prompt",
        ) from error
    write_private(path, content)


@contextmanager
def launching(record: Record) -> Iterator[ExitStack]:
    """Keep the record of a launch, and own the bottle, until the block ends or closes what is yielded.

    The record's phase stays "launching" until `launched` is called.
    """
    with ExitStack() as owned:
        with _all_locked():
            folder = private_directory(bottle_dir(record.slug))
            owned.enter_context(locked(folder / "owner", deadline_seconds=0, what=f"bottle {record.slug}"))
            private_directory(folder / "stage")
            _write(record)
        yield owned


def launched(record: Record) -> Record:
    """Record that the bottle outlives the process that launched it."""
    changed = dataclasses.replace(record, phase=LAUNCHED)
    _write(changed)
    return changed


@contextmanager
def removing(slug: str) -> Iterator[Record | None]:
    """Own a bottle while the block removes it, then remove its folder; an error in the block leaves the record.

    Yields None when the record is damaged, as after a loss of power. Raises `Busy` while another process launches or
    removes the bottle, `NotFound` when there is none.
    """
    with ExitStack() as owned:
        with _all_locked():
            try:
                record = read(slug)
            except HostNotReady:
                record = None
            owner = bottle_dir(slug) / "owner"
            owned.enter_context(locked(owner, deadline_seconds=0, what=f"bottle {slug}"))
            if record is not None:
                _write(dataclasses.replace(record, phase=REMOVING))
        yield record
        forget(slug)


def forget(slug: str) -> None:
    """Remove the folder of a bottle, which the caller must own."""
    run(["rm", "-rf", "--", bottle_dir(slug)], deadline_seconds=_REMOVAL_SECONDS)


def read(slug: str) -> Record:
    """Return the record of a bottle. Raises `NotFound`, with a near match as its hint."""
    path = bottle_dir(slug) / "record.json"
    try:
        return _record(json.loads(path.read_text()))
    except FileNotFoundError as error:
        near = near_match(slug, slugs())
        hint = f"{near} " if near else ""
        raise NotFound(f"there is no bottle {slug!r}", hint=f"{hint}'claude-bottle list' shows the bottles") from error
    except (ValueError, OSError) as error:
        raise HostNotReady(f"{path} is damaged: {error}", hint=f"'claude-bottle stop {slug}' removes it") from error


def _record(found: object) -> Record:
    """Return the record that a file holds, without the keys of other versions; raise `ValueError` for none."""
    known = {one.name: one for one in dataclasses.fields(Record)}
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    if missing := [name for name in _NEEDED if not isinstance(found.get(name), _NEEDED[name])]:
        raise ValueError(f"there is no correct {missing[0]!r}")
    return Record(**{name: value for name, value in found.items() if name in known})


def is_stopped(slug: str) -> bool:
    """Return whether a bottle is being removed, or has been."""
    try:
        return read(slug).phase == REMOVING
    except NotFound:
        return True
    except HostNotReady:
        return False


def slugs() -> list[str]:
    """Return the names of all bottles with a record."""
    return sorted(path.parent.name for path in bottles_home().glob("*/record.json"))


def abandoned() -> list[str]:
    """Return the bottles that a killed client was launching or removing, and remove folders without a record.

    A bottle whose record cannot be read is none of them: it may have been launched, and the agent's work is in it.
    """
    found = []
    for name in sorted(entry.name for entry in os.scandir(bottles_home()) if _SLUG.fullmatch(entry.name)):
        with suppress(Busy), _all_locked():
            if not (bottle_dir(name) / "record.json").exists():
                forget(name)
            elif _phase(name) in (LAUNCHING, REMOVING):
                with locked(bottle_dir(name) / "owner", deadline_seconds=0):
                    if _phase(name) in (LAUNCHING, REMOVING):  # its owner may just have given it up
                        found.append(name)
    return found


def _phase(slug: str) -> str:
    """Return the phase of a bottle; "" when its record is damaged."""
    with suppress(HostNotReady):
        return read(slug).phase
    return ""


def _write(record: Record) -> None:
    write_atomic(bottle_dir(record.slug) / "record.json", json.dumps(dataclasses.asdict(record), indent=2))


@contextmanager
def _all_locked() -> Iterator[None]:
    """Keep other processes from taking or testing an owner lock; held for milliseconds."""
    with locked(bottles_home().parent / "lock", deadline_seconds=_LOCK_SECONDS, what="the list of bottles"):
        yield
