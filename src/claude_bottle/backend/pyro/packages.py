"""The installation of a bottle's Debian packages: a further environment, made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from claude_bottle.backend.interface import Say
from pyro_mcp.errors import Conflict, UnknownEnvironment
from pyro_mcp.host.files import temporary_folder

if TYPE_CHECKING:
    from pyro_mcp import Pyro

_INSTALL = "apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*"


def environment_with(pyro: Pyro, environment: str, packages: Sequence[str], say: Say) -> str:
    """Return the name of an environment that has `packages` too; build it when it is missing.

    Its name is a digest of the environment's version and the packages, so a change of either makes another. apt reaches
    every public address while it is built. Raises `EnvironmentFailed` with the end of apt's output.
    """
    if not packages:
        return environment
    name = _name(pyro, environment, packages)
    if _is_there(pyro, name):
        return name
    say(f"building {name}: {environment} with {', '.join(packages)}")
    with temporary_folder() as folder:
        # The manifest lets no character into the name of a package that means more to a shell or to a Dockerfile.
        (folder / "Dockerfile").write_text(f"FROM {environment}\nRUN {_INSTALL.format(' '.join(packages))}\n")
        try:
            pyro.build_environment(name, path=folder / "Dockerfile", network=True, trust_host_ca=True)
        except Conflict:
            if not _is_there(pyro, name):  # another launch has just made it
                raise
    return name


def _name(pyro: Pyro, environment: str, packages: Sequence[str]) -> str:
    version = pyro.inspect_environment(environment)["version"]
    content = json.dumps([environment, version, sorted(packages)]).encode()
    return f"bottle-packages:{hashlib.sha256(content).hexdigest()[:16]}"


def _is_there(pyro: Pyro, name: str) -> bool:
    try:
        return pyro.inspect_environment(name)["installed"]
    except UnknownEnvironment:
        return False
