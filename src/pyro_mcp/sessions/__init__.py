"""Shells and services: programs in a guest that outlive every process of the host.

A backend without our machine keeps a program on a terminal in the same way. It copies `session_binary()`, one static
file without dependencies, into its guest, and runs it there through a `CommandRunner` of its own:

    client = SessionClient(runner, program=["/private/session", "/private/sessions"])
    client.open("agent", "terminal", Program(["bash"], cwd="/", environ={}, capacity=1 << 20))
    client.attach("agent", 0, sys.stdin.buffer, on_output)

The answers of the program are hostile input, and are checked here.
"""

from __future__ import annotations

from pyro_mcp.engine import Command, Outcome, session_binary
from pyro_mcp.sessions.client import CommandRunner, Program, SessionClient, SessionStatus
from pyro_mcp.sessions.services import Services, ServiceSpec
from pyro_mcp.sessions.shells import Shells

__all__ = [
    "Command",
    "CommandRunner",
    "Outcome",
    "Program",
    "ServiceSpec",
    "Services",
    "SessionClient",
    "SessionStatus",
    "Shells",
    "session_binary",
]
