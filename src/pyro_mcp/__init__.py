"""Disposable microVM workspaces for coding agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyro_mcp._version import __version__

if TYPE_CHECKING:
    from pyro_mcp.sdk import OutputSink, Pyro, create_server

__all__ = ["OutputSink", "Pyro", "__version__", "create_server"]


def __getattr__(name: str) -> object:
    # `pyro --version` must not pay for importing everything.
    if name in __all__:
        from pyro_mcp import sdk  # noqa: PLC0415

        return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
