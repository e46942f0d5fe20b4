"""Whether a person has approved the manifest of a project, which may have come with a cloned repository.

Such a manifest could send a variable or a file of this host to its author, so nothing is launched from it before the
person has approved it. An approval is for one content of one file. `$XDG_STATE_HOME/claude-bottle/trusted` has a file
for each approval, named by a digest of the manifest's path. The user's own manifest needs no approval, and neither does
one that is named on the command line.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.errors import NotTrusted
from pyro_mcp.errors import NotFound
from pyro_mcp.host.files import private_directory, state_home, write_atomic

if TYPE_CHECKING:
    from claude_bottle.manifest.levels import LoadedManifest


def require_trust(loaded: LoadedManifest) -> None:
    """Raise `NotTrusted` unless the project's manifest has been approved as it is; call it before any launch."""
    path = loaded.levels.get("project")
    if path is None or is_trusted(loaded):
        return
    changed = "has changed since you approved it" if _record(path).exists() else "is not approved yet"
    raise NotTrusted(
        f"{path} {changed}, and it may have come with somebody else's repository",
        hint="look at it ('claude-bottle trust --show', 'claude-bottle plan AGENT'), then approve it: "
        "'claude-bottle trust'",
    )


def is_trusted(loaded: LoadedManifest) -> bool:
    """Return whether the project's manifest has been approved with this content; True when there is none."""
    path = loaded.levels.get("project")
    if path is None:
        return True
    try:
        recorded = json.loads(_record(path).read_text())
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(recorded, dict) and recorded.get("sha256") == loaded.digests["project"]


def trust(path: Path, digest: str) -> None:
    """Approve the manifest `path` with the content that has this SHA-256 digest."""
    write_atomic(_record(path), json.dumps({"path": str(path), "sha256": digest}))


def distrust(path: Path) -> None:
    """Remove the approval of a manifest; nothing happens when it has none."""
    with suppress(FileNotFoundError):
        _record(path).unlink()


def project_manifest(loaded: LoadedManifest) -> Path:
    """Return the project's manifest; raises `NotFound` when there is none."""
    if "project" not in loaded.levels:
        raise NotFound("this project has no manifest", hint="only a project's manifest needs approval")
    return loaded.levels["project"]


def _record(path: Path) -> Path:
    folder = private_directory(state_home("claude-bottle") / "trusted")
    place = os.path.join(os.path.realpath(path.parent), path.name)
    return folder / hashlib.sha256(os.fsencode(place)).hexdigest()
