"""The trees on the host serve the tests of what their tool says, too."""

from __future__ import annotations

from tests.trees.conftest import host, new_host, tool_binary

__all__ = ["host", "new_host", "tool_binary"]
