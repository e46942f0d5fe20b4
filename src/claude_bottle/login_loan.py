"""The loan of an agent's kept login to one bottle at a time.

A provider accepts a refresh token once and answers with the next one; some withdraw the whole login when a used token
comes back. So two bottles with one login would make it invalid for each other. Only the bottle that has the loan
changes the kept login. The login's files in the bottle are read whenever a command looks at the bottle, before it is
removed, and before the login is lent again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from claude_bottle import state
from claude_bottle.backend.interface import Inside
from claude_bottle.backend.table import backend_named
from claude_bottle.errors import BottleFailed
from claude_bottle.harness import harness_named
from claude_bottle.logins import KeptLogin, kept_login, login_locked, write_login
from claude_bottle.state import Record
from pyro_mcp.errors import Conflict, NotFound, PyroError

_MOST_BYTES = 4 * 1024 * 1024  # of a file that is read: Claude Code keeps more than the account in one of them
_MOST_KEPT = 256 * 1024
_DEEPEST = 32  # objects and lists in each other; `json` and `copy` stop with a RecursionError at some hundreds


def lend(record: Record, harness: str) -> None:
    """Lend the kept login of an agent to a new bottle, after reading the login of its last bottle.

    Raises `Conflict` while the agent of another bottle has it.
    """
    with login_locked(record.agent):
        login = kept_login(record.agent, harness)
        login = _returned(record.agent, harness, login)
        write_login(record.agent, harness, KeptLogin(record.slug, login.kept_at, login.files))


def has_login(record: Record) -> bool:
    """Return whether a bottle has the kept login of its agent."""
    return isinstance(record.harness, str) and kept_login(record.agent, record.harness).lent_to == record.slug


def keep_login(record: Record, bottle: Inside) -> str:
    """Save the present login of a bottle, if a login was lent to it; return why that failed, else "".

    The bottle's files may be hostile: a file that is missing, too large, or not a JSON object changes nothing.
    """
    try:
        if not isinstance(record.harness, str) or not has_login(record):
            return ""
        with login_locked(record.agent):
            login = kept_login(record.agent, record.harness)
            if login.lent_to == record.slug:
                _keep(record.agent, record.harness, login, bottle)
    except PyroError as error:
        return f"its login could not be read, so the one that was kept before stays: {error.message}"
    return ""


def keep_last_login(record: Record) -> str:
    """Save the login of a bottle that is about to be removed; return why that failed, else "".

    It raises nothing: what a guest wrote must never keep its bottle from being removed.
    """
    try:
        return keep_login(record, backend_named(record.backend).find(record.slug)) if has_login(record) else ""
    except NotFound:
        return f"{record.slug} is gone, and with it what changed in its login"
    except PyroError as error:
        return f"{record.slug}: its login could not be read: {error.message}"
    except Exception as error:  # noqa: BLE001 - as above; an error of our own reading is reported too
        return f"{record.slug}: its login could not be read: {type(error).__name__}"


def _returned(agent: str, harness: str, login: KeptLogin) -> KeptLogin:
    """Read the login back from the bottle that has it; raise `Conflict` while that bottle's agent runs."""
    slug = login.lent_to
    try:
        record = state.read(slug) if slug else None
        if record is None:
            return login
        bottle = None if record.phase == state.LAUNCHING else backend_named(record.backend).find(slug)
        if bottle is not None and bottle.exit_code() is not None:
            return _keep(agent, harness, login, bottle)
    except NotFound:  # the bottle was removed
        return login
    raise Conflict(
        f"the login of the agent {agent} is in use in the bottle {slug}",
        hint=f"a login works in one bottle at a time: 'claude-bottle stop {slug}', or launch another agent of the "
        "manifest, which has a login of its own",
    )


def _keep(agent: str, harness: str, login: KeptLogin, bottle: Inside) -> KeptLogin:
    """Read the files of a login in a bottle, and save them if they exist."""
    found = dict(_content(harness, bottle))
    if not found or found == login.files:
        return login
    if len(json.dumps(found)) > _MOST_KEPT:
        raise BottleFailed(f"the files of the login are larger than {_MOST_KEPT // 1024} KiB")
    changed = KeptLogin(login.lent_to, time.time(), found)
    write_login(agent, harness, changed)
    return changed


def _content(harness: str, bottle: Inside) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the kept content of each file; nothing if the first one, with the tokens, has none."""
    login = harness_named(harness).login
    for number, one in enumerate(login.files if login is not None else ()):
        raw = bottle.read_home(one.path, most=_MOST_BYTES)
        content = {} if raw is None else _object(raw, one.path)
        kept = {key: content[key] for key in one.keys if key in content} if one.keys else content
        if kept:
            yield one.path, kept
        elif number == 0:
            return


def _object(raw: bytes, path: str) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BottleFailed(f"~/{path} holds no JSON object")
    if _is_deeper(content, _DEEPEST):
        raise BottleFailed(f"~/{path} has more than {_DEEPEST} objects or lists in each other")
    return content


def _is_deeper(content: object, most: int) -> bool:
    inner = content.values() if isinstance(content, dict) else content if isinstance(content, list) else None
    return inner is not None and (most == 0 or any(_is_deeper(one, most - 1) for one in inner))
