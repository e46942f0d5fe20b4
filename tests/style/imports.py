"""The imports between our modules, read from the source without running it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

from tests.style.project import python_files

OURS = ("pyro_mcp", "claude_bottle", "moot")

Graph = dict[str, set[str]]


def import_graph(source: Path) -> Graph:
    """Map each module below `source` to our modules that it imports, at any depth in the file.

    `from package import name` counts as an import of `package.name` when that is a module, unless the package offers
    something of its own by that name.
    """
    paths = {_module_name(path, source): path for path in python_files(source)}
    offered = {f"{package}.{name}" for package, path in paths.items() for name in _offered(package, path)}
    return {
        name: {
            _nearest_module(target, paths.keys() - offered) for target in _targets(path) if target.split(".")[0] in OURS
        }
        for name, path in paths.items()
    }


def _module_name(path: Path, source: Path) -> str:
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _offered(package: str, path: Path) -> list[str]:
    """Return the names that a package's `__init__` imports from its modules."""
    if path.name != "__init__.py":
        return []
    tree = ast.parse(path.read_text(), path)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return [alias.name for node in imports if str(node.module).startswith(f"{package}.") for alias in node.names]


def _nearest_module(target: str, modules: Collection[str]) -> str:
    """Return `target`, without its last part when that is a name inside a module rather than a module."""
    return target if target in modules or "." not in target else target.rpartition(".")[0]


def find_cycle(graph: Graph) -> list[str]:
    """Return modules that import each other in a ring, the first repeated at the end, or an empty list."""
    finished: set[str] = set()

    def search(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in finished:
            return []
        for target in sorted(graph.get(module, ())):
            if ring := search(target, [*trail, module]):
                return ring
        finished.add(module)
        return []

    return next((ring for module in sorted(graph) if (ring := search(module, []))), [])
