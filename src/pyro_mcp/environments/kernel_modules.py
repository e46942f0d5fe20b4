"""Find the order in which kernel modules must be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pyro_mcp.errors import EnvironmentFailed

_DEPENDS = re.compile(rb"\0depends=([a-z0-9A-Z_,-]*)\0")


def load_order(modules: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of the modules `names` and of their dependencies, in load order, without built-in modules.

    `modules` is a `lib/modules/VERSION` folder. Raises `EnvironmentFailed` for a module that is missing.
    """
    files = {_normalized(path.stem): path for path in sorted(modules.rglob("*.ko"))}
    builtin = {_normalized(Path(line).stem) for line in (modules / "modules.builtin").read_text().splitlines()}
    ordered: dict[str, Path] = {}

    def add(name: str, needed_by: tuple[str, ...]) -> None:
        if name in ordered or name in builtin:
            return
        if name not in files or name in needed_by:
            raise EnvironmentFailed(f"the kernel module {name} is not in {modules}", hint=f"needed by {needed_by}")
        for dependency in dependencies(files[name]):
            add(dependency, (*needed_by, name))
        ordered[name] = files[name]

    for name in names:
        add(_normalized(name), ())
    return list(ordered.values())


def dependencies(module: Path) -> list[str]:
    """Return the modules that this one needs, from its `.modinfo` section (NUL-separated NAME=VALUE)."""
    found = _DEPENDS.search(module.read_bytes())
    return [_normalized(name) for name in found[1].decode().split(",") if name] if found else []


def _normalized(name: str) -> str:
    return name.replace("-", "_")
