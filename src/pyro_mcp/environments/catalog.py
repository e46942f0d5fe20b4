"""The environments that we build ourselves, as data."""

from __future__ import annotations

from dataclasses import dataclass

SUITE = "bookworm"

_BASE = ("ca-certificates",)
_TOOLS = (*_BASE, "curl", "git", "iproute2", "procps", "python3")
_BUILD = (*_TOOLS, "build-essential", "pkg-config", "python3-pip", "python3-venv")


@dataclass(frozen=True)
class Recipe:
    """One Debian environment: a stable name, and a version that changes whenever the recipe does."""

    name: str
    version: str
    description: str
    packages: tuple[str, ...]


CATALOG: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("debian:12", "12.1", "Debian 12 with git, curl and Python 3", _TOOLS),
        Recipe("debian:12-base", "12.1", "Debian 12, minimal", _BASE),
        Recipe("debian:12-build", "12.1", "debian:12 with compilers, pip and venv", _BUILD),
    )
}
