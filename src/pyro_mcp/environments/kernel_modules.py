"""Which kernel modules must be loaded before which."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pyro_mcp.errors import EnvironmentFailed

_DEPENDS = re.compile(rb"\0depends=([a-z0-9A-Z_,-]*)\0")


def load_order(modules: Path, names: Iterable[str]) -> list[Path]:
    """The files to load, in order, so that all of `names` work; what is built into the kernel is left out.

    `modules` is a `lib/modules/VERSION` folder. Raises `EnvironmentFailed` for a module that is not there.
    """
    files = {_plain(path.stem): path for path in sorted(modules.rglob("*.ko"))}
    builtin = {_plain(Path(line).stem) for line in (modules / "modules.builtin").read_text().splitlines()}
    ordered: dict[str, Path] = {}

    def need(name: str, asked_by: tuple[str, ...]) -> None:
        if name in ordered or name in builtin:
            return
        if name not in files or name in asked_by:
            raise EnvironmentFailed(f"the kernel module {name} is not in {modules}", hint=f"needed by {asked_by}")
        for dependency in dependencies(files[name]):
            need(dependency, (*asked_by, name))
        ordered[name] = files[name]

    for name in names:
        need(_plain(name), ())
    return list(ordered.values())


def dependencies(module: Path) -> list[str]:
    """The modules that this one needs, as its `.modinfo` section (NUL-separated NAME=VALUE) lists them."""
    found = _DEPENDS.search(module.read_bytes())
    return [_plain(name) for name in found[1].decode().split(",") if name] if found else []


def _plain(name: str) -> str:
    return name.replace("-", "_")
