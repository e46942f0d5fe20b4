"""Bottles: a whole coding agent in a virtual machine or a container, described by one manifest.

loaded = load_manifest(Path.cwd())
bottles = Bottles(folder=Path.cwd(), manifest=loaded)
slug = bottles.run("reviewer", copy_cwd=True)["slug"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from claude_bottle.bottles import Bottles
    from claude_bottle.manifest import LoadedManifest, Manifest, require_trust
    from claude_bottle.manifest import load as load_manifest
    from claude_bottle.results import BottleInfo

__all__ = ["BottleInfo", "Bottles", "LoadedManifest", "Manifest", "load_manifest", "require_trust"]


def __getattr__(name: str) -> object:
    # `claude-bottle --version` must not pay for importing everything.
    if name == "Bottles":
        from claude_bottle.bottles import Bottles  # noqa: PLC0415

        return Bottles
    if name == "BottleInfo":
        from claude_bottle.results import BottleInfo  # noqa: PLC0415

        return BottleInfo
    if name in __all__:
        from claude_bottle import manifest  # noqa: PLC0415

        return getattr(manifest, "load" if name == "load_manifest" else name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
