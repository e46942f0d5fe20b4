"""The home that the tests of the server have."""

from __future__ import annotations

from tests.mcp_server.conftest import fake_home

__all__ = ["fake_home"]
