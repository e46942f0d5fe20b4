"""`.moot/actors.json`: the id and key of each role's agent. Mode 0600 in a folder of mode 0700."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from moot.config.places import MOOT_DIR, moot_folder
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest
from pyro_mcp.host.files import private_directory, write_durable
from pyro_mcp.host.regular_file import NotSmallAndRegular, read_regular

ACTORS_JSON = f"{MOOT_DIR}/actors.json"
_LARGEST = 1024 * 1024


@dataclass(frozen=True)
class ActorKey:
    """The agent of one role."""

    actor_id: str
    api_key: str
    display_name: str


@dataclass(frozen=True)
class Actors:
    """The agents of a project, by role."""

    space_id: str
    space_name: str
    api_url: str
    actors: Mapping[str, ActorKey]

    def require_server(self, api_url: str) -> None:
        """Raise `Conflict` when `moot.toml`, which anybody may have committed, names another server for the keys."""
        if self.api_url and self.api_url != api_url:
            raise Conflict(
                f"moot.toml names the server {api_url}, but the keys of the agents are for {self.api_url}",
                hint=f"'moot config set api_url {self.api_url}' restores it;\n"
                f"'moot config set api_url {api_url}' lets the keys be sent to that server: do it only if it is yours",
            )


def load_actors(start: Path | None = None) -> Actors | None:
    """Return the agents of the project that a folder (the current one) is in; None when there is no file.

    Raises `InvalidRequest` when the file is damaged.
    """
    return read_actors(moot_folder(start) / "actors.json")


def get_actor_key(role: str, start: Path | None = None) -> str:
    """Return the key of a role's agent, "" when it has none."""
    found = load_actors(start)
    if found is None:
        return ""
    one = found.actors.get(role) or found.actors.get(role.lower())
    return one.api_key if one else ""


def read_actors(path: Path) -> Actors | None:
    """Return the agents in a file; None when it does not exist. Raises `InvalidRequest` and `HostNotReady`."""
    try:
        content, _ = read_regular(path, most=_LARGEST)
    except FileNotFoundError:
        return None
    except NotSmallAndRegular as error:
        raise InvalidRequest(f"{path}: {error}") from None
    except OSError as error:
        raise HostNotReady(f"{path}: {error.strerror}", hint="only the user who owns it can read it") from error
    try:
        return _actors(json.loads(content))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRequest(
            f"{path} is damaged", hint="move it away, then run 'moot init --force' for new keys"
        ) from None


def save_actors(actors: Actors, folder: Path) -> Path:
    """Write the agents into a project's folder, durably; return the path of the file."""
    private = prepare_moot_folder(folder)
    path = private / "actors.json"
    write_durable(path, json.dumps(asdict(actors), indent=2))
    return path


def prepare_moot_folder(folder: Path) -> Path:
    """Make the folder `.moot` of a project, for this user only; return it."""
    path = folder / MOOT_DIR
    if path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.getuid():
        path.chmod(0o700)
    return private_directory(path)


def _actors(found: Mapping[str, object]) -> Actors:
    entries = found["actors"]
    if not isinstance(entries, dict):
        raise TypeError
    actors = {
        str(role): ActorKey(_text(one, "actor_id"), _text(one, "api_key"), _text(one, "display_name"))
        for role, one in entries.items()
    }
    return Actors(_text(found, "space_id"), _text(found, "space_name"), _text(found, "api_url"), actors)


def _text(found: Mapping[str, object], name: str) -> str:
    value = found.get(name, "")
    if not isinstance(value, str):
        raise TypeError
    return value
