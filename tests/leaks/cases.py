"""The cases of cases.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ALLOWED = ["allowed.test", "*.wild.test", "proxy.test:3128", "ssh.test:22"]
"""What a guest of the policy "list" may reach."""
RULES: list[object] = [{"host": "rules.test", "methods": ["GET"], "paths": ["/v1/*"]}, "allowed.test"]
"""What a guest of the policy "rules" may reach: of one host, only some requests."""


@dataclass(frozen=True)
class Canary:
    """Where something must not arrive: traffic of a kind at an address and port (None: any).

    For the kind "token" it is the case's token, in any packet or request that comes to the canaries.
    """

    kind: str
    target: str = ""
    port: int | None = None


@dataclass(frozen=True)
class Case:
    """One attempt: this program in a guest with this policy: "off", "egress", "list", "rules".

    `reaches` turns it round. `slow` says that no refusal can come quickly, since nobody answers such a thing.
    """

    id: str
    group: str
    policy: str
    what: str
    code: str
    canary: Canary
    reaches: bool = False
    slow: bool = False


def cases() -> list[Case]:
    """Return every case, in the order of the file."""
    rows = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["case"]
    return [Case(**row | {"canary": _canary(row["canary"])}) for row in rows]


def firsts() -> list[Case]:
    """Return the first case of each group under each policy."""
    found: dict[tuple[str, str], Case] = {}
    for case in cases():
        found.setdefault((case.group, case.policy), case)
    return list(found.values())


def _canary(text: str) -> Canary:
    kind, *where = text.split()
    return Canary(kind, where[0] if where else "", int(where[1]) if len(where) > 1 else None)
