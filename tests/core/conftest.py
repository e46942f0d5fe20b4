"""The fixtures of machines serve the tests of workspaces too."""

from __future__ import annotations

from tests.machines.conftest import engine, lifecycle

__all__ = ["engine", "lifecycle"]
