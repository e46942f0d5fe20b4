"""A stand-in for a backend, for tests: the agent is an ordinary process of this host on a terminal of its own.

It contains nothing, so the command offers it only when `CLAUDE_BOTTLE_FAKE` is set.
"""

from claude_bottle.backend.fake.launch import FakeBackend

__all__ = ["FakeBackend", "backend"]


def backend() -> FakeBackend:
    """Return the backend."""
    return FakeBackend()
