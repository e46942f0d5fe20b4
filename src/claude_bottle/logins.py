"""Kept logins: the subscription logins of harnesses, one for each user, agent and harness, on this host.

    logins/AGENT/HARNESS.json   the `KeptLogin`, mode 0600, below `$XDG_STATE_HOME/claude-bottle`
    logins/AGENT/lock

`claude_bottle.login_loan` lends a login to bottles, and saves the tokens that they renew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_mcp.errors import HostNotReady, NotFound
from pyro_mcp.hints import near_match
from pyro_mcp.host.files import locked, private_directory, state_home, write_private
from pyro_mcp.host.process import run

_LOCK_SECONDS = 60.0
_REMOVAL_SECONDS = 60.0


@dataclass(frozen=True)
class KeptLogin:
    """A kept login: the content of its files by their paths below the home, and the bottle that it is lent to.

    Without `files`, nobody has logged in yet.
    """

    lent_to: str = ""
    kept_at: float = 0.0
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)


def kept_login(agent: str, harness: str) -> KeptLogin:
    """Return the login that is kept for an agent; raises `HostNotReady` when its file is damaged."""
    path = _file(agent, harness)
    try:
        found = json.loads(path.read_text())
        return KeptLogin(str(found["lent_to"]), float(found["kept_at"]), dict(found["files"]))
    except FileNotFoundError:
        return KeptLogin()
    except (ValueError, KeyError, TypeError, OSError, RecursionError):  # not shown: its text may have a part of a token
        raise HostNotReady(f"{path} is damaged", hint=f"'claude-bottle logout {agent}' removes it") from None


@contextmanager
def login_locked(agent: str) -> Iterator[None]:
    """Keep other processes from changing the logins of an agent while the block runs."""
    private_directory(_home())
    folder = private_directory(_home() / agent)
    with locked(folder / "lock", deadline_seconds=_LOCK_SECONDS, what=f"the login of {agent}"):
        yield


def write_login(agent: str, harness: str, login: KeptLogin) -> None:
    """Replace the login that is kept for an agent; the caller has the lock."""
    path = _file(agent, harness)
    scratch = path.with_name(f".{harness}.new")
    scratch.unlink(missing_ok=True)
    content = {"lent_to": login.lent_to, "kept_at": login.kept_at, "files": login.files}
    write_private(scratch, json.dumps(content).encode())
    scratch.replace(path)


def forget_logins(agent: str) -> list[KeptLogin]:
    """Remove the kept logins of an agent, and return them. Raises `NotFound` when there is none."""
    known = sorted({path.parent.name for path in _home().glob("*/*.json")})
    if agent not in known:
        hint = near_match(agent, known) or "a login is kept for an agent with 'login': 'keep' in the manifest"
        raise NotFound(f"no login is kept for an agent {agent!r}", hint=hint)
    removed = []
    with login_locked(agent):
        for path in (_home() / agent).glob("*.json"):
            with suppress(HostNotReady):  # a damaged one is removed too
                removed.append(kept_login(agent, path.stem))
        run(["rm", "-rf", "--", _home() / agent], deadline_seconds=_REMOVAL_SECONDS)
    return removed


def _home() -> Path:
    return state_home("claude-bottle") / "logins"


def _file(agent: str, harness: str) -> Path:
    return _home() / agent / f"{harness}.json"
