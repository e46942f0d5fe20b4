"""The catalogue: the Debian environments that pyro builds itself, as data."""

from __future__ import annotations

from dataclasses import dataclass

SUITE = "bookworm"

_BASE = ("ca-certificates",)
_TOOLS = (*_BASE, "curl", "git", "iproute2", "procps", "python3", "python3-pip", "python3-venv")
_BUILD = (*_TOOLS, "build-essential", "pkg-config")


@dataclass(frozen=True)
class Wheel:
    """One exact wheel file, whose programs an environment has in /usr/local/bin."""

    project: str
    file: str
    sha256: str


UV = Wheel(
    "uv",
    "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
)


@dataclass(frozen=True)
class Recipe:
    """One Debian environment: a stable name, and a version that changes whenever the recipe changes."""

    name: str
    version: str
    description: str
    packages: tuple[str, ...]
    wheels: tuple[Wheel, ...] = ()


CATALOG: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("debian:12", "12.2", "Debian 12 with git, curl, Python, pip and uv", _TOOLS, (UV,)),
        Recipe("debian:12-base", "12.1", "Debian 12, minimal", _BASE),
        Recipe("debian:12-build", "12.2", "debian:12 with compilers", _BUILD, (UV,)),
    )
}
