"""Bottles in containers of a Docker Engine, with the egress gateway on the container's network namespace.

The `docker` program does everything (DOCKER_HOST and its other variables are respected). A bottle is one container and
two volumes, found by their labels alone:

    container   --network none, few capabilities, no folder of the host, no socket of the daemon
    tree        the volume at /workspace
    baseline    the volume that keeps the first content of the tree; no agent's container has it

The container's first process waits until the bottle is provisioned and its gateway runs, then becomes the agent. So if
anything ends early, the agent has no network or has not started. `tree.py` reads the volumes in a container of its own,
in which no program of the guest runs.
"""

from __future__ import annotations

from claude_bottle.backend.interface import Backend

__all__ = ["backend"]


def backend() -> Backend:
    """Return the backend for the daemon that the `docker` program is configured for."""
    from claude_bottle.backend.docker.launcher import DockerBackend  # noqa: PLC0415 - slow to import

    return DockerBackend()
