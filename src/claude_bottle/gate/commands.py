"""The commands at the beginning of a push, and which of them the manifest allows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from claude_bottle.gate.pkt_line import read_until_flush
from claude_bottle.gate.remotes import Remote, is_plain_ref
from claude_bottle.guard.requests import canonical
from pyro_mcp.errors import InvalidRequest

ZERO = "0" * 40
"""The id that stands for no object: the old one of a new ref, the new one of a deleted ref."""
MOST_REFS = 8
"""The most refs of one push."""
_MOST_LINES = 1000
_LONGEST_REF = 1000
_ID = re.compile(r"[0-9a-f]{40}")
_SHALLOW = b"shallow "


@dataclass(frozen=True)
class Update:
    """A ref that a push changes from one object to another; `old` is `ZERO` for a new ref."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True)
class Commands:
    """What a push asks for, and the capabilities of the pusher's git."""

    updates: tuple[Update, ...]
    capabilities: frozenset[str]


def read_commands(source: IO[bytes]) -> Commands:
    """Read the commands of a push up to its pack; raise `InvalidRequest` for what a real git would not send."""
    updates: list[Update] = []
    capabilities: frozenset[str] = frozenset()
    for line in read_until_flush(source, most=_MOST_LINES):
        if line.startswith(_SHALLOW):  # the boundary of a shallow clone, which says nothing about the upstream
            continue
        command, separator, words = line.rstrip(b"\n").partition(b"\0")
        if separator and not updates:
            capabilities = frozenset(words.decode(errors="replace").split())
        updates.append(_update(command))
    if capabilities & {"push-options", "atomic"} or any(one.startswith("push-cert") for one in capabilities):
        raise InvalidRequest("the push uses a feature that the git gate does not offer")
    return Commands(tuple(updates), capabilities)


def _update(command: bytes) -> Update:
    words = command.decode(errors="surrogateescape").split(" ", 2)
    if len(words) != 3 or not all(_ID.fullmatch(word) for word in words[:2]):
        raise InvalidRequest("the request is damaged: a line is not a command of a push")
    if len(words[2]) > _LONGEST_REF:
        raise InvalidRequest(f"the name of a ref has more than {_LONGEST_REF} characters")
    return Update(words[2], words[0], words[1])


def require_allowed(remote: Remote, updates: Sequence[Update], refs: Mapping[str, str]) -> None:
    """Raise `InvalidRequest` unless the manifest allows to push all these refs; `refs` are those of the upstream."""
    if len(updates) > MOST_REFS:
        raise InvalidRequest(f"the push changes {len(updates)} refs; the git gate takes {MOST_REFS} at once")
    if len({one.ref for one in updates}) != len(updates):
        raise InvalidRequest("the push names one ref twice")
    for one in updates:
        _require_allowed(remote, one, refs)


def _require_allowed(remote: Remote, update: Update, refs: Mapping[str, str]) -> None:
    ref = update.ref
    if update.new == ZERO:
        raise InvalidRequest(f"deleting is never allowed: {ref}")
    if not is_plain_ref(ref) or remote.rule_for(ref) is None:
        allowed = ", ".join(rule.ref for rule in remote.push) or "no ref"
        raise InvalidRequest(f"{ref} may not be pushed; allowed by the manifest: {allowed}")
    if refs.get(ref, ZERO) != update.old:
        raise InvalidRequest(f"the upstream's {ref} has changed meanwhile: fetch, and push again")
    if ref.startswith("refs/tags/") and update.old != ZERO:
        raise InvalidRequest(f"a tag is never moved: {ref}")
    if update.old == update.new:
        raise InvalidRequest(f"the upstream has this already: {ref}")


def asks(remote: Remote, updates: Sequence[Update]) -> bool:
    """Return whether a person must approve these updates."""
    rules = [remote.rule_for(one.ref) for one in updates]
    return any(rule is None or rule.approve != "always" for rule in rules)


def push_rule(remote: Remote, updates: Sequence[Update]) -> dict[str, Any]:
    """Return exactly what an approval of this push allows."""
    changes = [{"ref": one.ref, "old": one.old, "new": one.new} for one in sorted(updates, key=lambda one: one.ref)]
    return {"remote": remote.name, "url": remote.url, "updates": changes}


def rule_key(rule: Mapping[str, Any]) -> str:
    """Return a name for a rule of `push_rule`; different rules have different names."""
    return hashlib.sha256(canonical(rule).encode()).hexdigest()[:32]
