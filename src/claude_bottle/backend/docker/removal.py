"""The removal of all that a launch made in the daemon."""

from __future__ import annotations

from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.names import Names
from pyro_mcp.errors import HostCommandFailed
from pyro_mcp.network import GatewayControl

_DEADLINE = 300.0
_GATEWAY_END = 20.0


def remove(engine: Engine, names: Names) -> None:
    """Remove the containers and volumes of a bottle, whatever of them is there, and wait for the end of its gateway."""
    if containers := engine.names("container", names.label):
        _unless_gone(engine, ["rm", "--force", "--volumes", *containers])
    if volumes := engine.names("volume", names.label):
        _unless_gone(engine, ["volume", "rm", "--force", *volumes])
    if names.gateway.exists():
        GatewayControl(names.gateway).wait_for_end(_GATEWAY_END)


def _unless_gone(engine: Engine, words: list[str]) -> None:
    """Remove something that another process may be removing too."""
    try:
        engine.call(words, deadline_seconds=_DEADLINE)
    except HostCommandFailed as error:
        said = error.message.lower()
        if "no such" not in said and "already in progress" not in said:
            raise
