"""`${secret:NAME}` in the variables of a role: the content of a file that is not in the repository."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from moot.config.reading import AgentConfig
from pyro_mcp.errors import NotFound
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

_LARGEST = 64 * 1024
_SECRET = re.compile(r"\$\{secret:([^}]*)\}")


def secrets_folder() -> Path:
    """Return where secrets are: $MOOT_SECRETS_DIR, or ~/.secrets."""
    return Path(os.environ.get("MOOT_SECRETS_DIR") or Path.home() / ".secrets")


def resolve_env(agent: AgentConfig, secrets: Path | None = None) -> Mapping[str, str]:
    """Return the variables of a role with their secrets filled in. Raises `NotFound` for a missing secret."""
    folder = secrets or secrets_folder()

    def filled(name: str, value: str) -> str:
        where = f"agents.{agent.role}.env.{name}"
        return _SECRET.sub(lambda found: _secret(folder / found[1], where), value)

    return {name: filled(name, value) for name, value in agent.env.items()}


def _secret(path: Path, where: str) -> str:
    hint = f"write its value to {path}, or name another folder with MOOT_SECRETS_DIR"
    try:
        content, _ = read_regular(path, most=_LARGEST)
    except (OSError, NotSmallAndRegular) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotFound(f"{where}: there is no secret {path.name}: {path}: {reason}", hint=hint) from None
    text = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        value = text.decode()
    except UnicodeDecodeError:
        raise NotFound(f"{where}: the secret {path.name} is not text in UTF-8", hint=hint) from None
    if "\0" in value:
        raise NotFound(f"{where}: the secret {path.name} holds a NUL character", hint=hint)
    return value
