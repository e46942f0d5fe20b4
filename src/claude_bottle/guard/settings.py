"""The settings of a guard: a private file that the launch writes, and that the guard and commands read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from claude_bottle.state import stage_dir
from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

_FILE = "settings.json"
_LARGEST_MANIFEST = 4 << 20


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """The bottle of one launch. `guard` names this launch alone; `rules` are those of its gateway as JSON.

    `config` is the bottle of the manifest as JSON, without its variables. `manifest_files` are the files that it came
    from; launches of the bottle by the same `budget_file` share the budgets of a day and of all runs.
    """

    guard: str
    slug: str
    agent: str
    bottle: str
    backend: str
    rules: Mapping[str, Any]
    config: Mapping[str, Any]
    manifest_files: tuple[str, ...]
    budget_file: str = ""

    def write(self, folder: Path) -> None:
        """Write the settings into the new folder of a guard."""
        path = folder / _FILE
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))

    def policy(self) -> str:
        """Return the digest of the bottle's policy: what it was launched with, and its manifest's files as they are.

        So a change of the manifest after a request was made makes its approval void, also one that was given before.
        """
        found = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for name in self.manifest_files:
            found.update(_content(Path(name)))
        return found.hexdigest()


def guard_dir(slug: str) -> Path:
    """Return the folder of a bottle's guard; it need not exist."""
    return stage_dir(slug) / "guard"


def read_settings(folder: Path) -> GuardSettings:
    """Return the settings in the folder of a guard; raises `HostNotReady`."""
    path = folder / _FILE
    try:
        found = json.loads(path.read_text())
        return GuardSettings(**{**found, "manifest_files": tuple(found["manifest_files"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HostNotReady(f"the guard's settings {path} cannot be read: {error}", hint="stop the bottle") from error


def _content(path: Path) -> bytes:
    """Return the digest of a file's content; zeros for a file that is missing, too large or not regular."""
    try:
        return hashlib.sha256(read_regular(path, most=_LARGEST_MANIFEST)[0]).digest()
    except (OSError, NotSmallAndRegular):
        return bytes(hashlib.sha256().digest_size)
