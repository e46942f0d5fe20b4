"""Imports run one way, and a layer is used through its package's public names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.style.imports import Graph, find_cycle, import_graph
from tests.style.project import ROOT

_GROUND = {"pyro_mcp.errors", "pyro_mcp.results", "pyro_mcp.serving"}
_CORE = {"pyro_mcp.engine", "pyro_mcp.environments"}
_FACE = {*_GROUND, "pyro_mcp", "pyro_mcp.workspaces"}

# Each layer, and the layers that it may import. A module belongs to the longest name that it starts with.
MAY_IMPORT = {
    "pyro_mcp._version": set[str](),
    "pyro_mcp.errors": set[str](),
    "pyro_mcp.results": set[str](),
    "pyro_mcp.serving": {"pyro_mcp.errors"},
    "pyro_mcp.host": {"pyro_mcp.errors"},
    "pyro_mcp.environments": {*_GROUND, "pyro_mcp.host"},
    "pyro_mcp.secrecy": {"pyro_mcp.errors"},
    "pyro_mcp.network": {*_GROUND, "pyro_mcp.host", "pyro_mcp.secrecy"},
    "pyro_mcp.engine": {*_GROUND, "pyro_mcp.host", "pyro_mcp.network"},
    "pyro_mcp.trees": {*_GROUND, "pyro_mcp.host", "pyro_mcp.engine"},
    "pyro_mcp.workspaces": {
        *_GROUND,
        *_CORE,
        "pyro_mcp.host",
        "pyro_mcp.hosts",
        "pyro_mcp.network",
        "pyro_mcp.secrecy",
        "pyro_mcp.trees",
    },
    "pyro_mcp.server": {*_GROUND, "pyro_mcp._version", "pyro_mcp.host", "pyro_mcp.workspaces"},
    "pyro_mcp.sdk": {"pyro_mcp.server", "pyro_mcp.serving", "pyro_mcp.workspaces"},
    "pyro_mcp": {"pyro_mcp._version", "pyro_mcp.sdk", "pyro_mcp.workspaces"},
    "pyro_mcp.cli": _FACE,
    "pyro_mcp.hosts": {*_GROUND, "pyro_mcp.host"},
    "pyro_mcp.workspace_use_case_smokes": _FACE,
    "claude_bottle": {"pyro_mcp"},
    "moot": {"pyro_mcp", "claude_bottle"},
}

# A shelf of modules without a face of its own; every other package is used by its name alone.
SHELVES = {"pyro_mcp.host"}


def layer_of(module: str) -> str:
    """The layer of a module; for a module of `pyro_mcp` that no layer names, its own name."""
    found = max((layer for layer in MAY_IMPORT if f"{module}.".startswith(f"{layer}.")), key=len)
    return module if found == "pyro_mcp" and module != found else found


def layer_faults(graph: Graph) -> list[str]:
    """What is wrong with the imports, one sentence each."""
    faults = []
    for module, targets in sorted(graph.items()):
        layer = layer_of(module)
        if layer not in MAY_IMPORT:
            faults.append(f"{module} belongs to no layer; name it in MAY_IMPORT")
            continue
        for target in sorted(targets):
            its_layer = layer_of(target)
            if its_layer == layer:
                continue
            if its_layer not in MAY_IMPORT[layer]:
                faults.append(f"{module} imports {target}, which {layer} may not")
            elif target != its_layer and its_layer not in SHELVES:
                faults.append(f"{module} imports {target} past the public names of {its_layer}")
    return faults


def planted(root: Path, files: dict[str, str]) -> Graph:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return import_graph(root)


def test_every_import_follows_the_layer_table() -> None:
    assert layer_faults(import_graph(ROOT / "src")) == []


def test_no_module_imports_itself_in_a_ring() -> None:
    assert find_cycle(import_graph(ROOT / "src")) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("errors", "from pyro_mcp.host import files"),
        ("host/files", "from pyro_mcp.engine import Machine"),
        ("engine/qemu", "from pyro_mcp.environments import RootImage"),
        ("engine/qemu", "def late():\n    import pyro_mcp.workspaces"),
        ("workspaces/pyro", "from pyro_mcp.engine.qemu import Machine"),
        ("workspaces/pyro", "from pyro_mcp.engine import qemu"),
        ("cli/run", "from pyro_mcp.server import tools"),
        ("cli/run", "from pyro_mcp.engine import Machine"),
        ("server/tools", "from pyro_mcp.workspaces.pyro import Pyro"),
        ("stray", ""),
        ("../claude_bottle/bottle", "from pyro_mcp.workspaces import Pyro"),
        ("../claude_bottle/bottle", "import moot"),
    ],
)
def test_an_import_against_the_table_is_seen(tmp_path: Path, module: str, line: str) -> None:
    tree = {f"pyro_mcp/{name}/__init__.py": "" for name in ("host", "engine", "environments", "workspaces", "server")}
    tree |= {"pyro_mcp/__init__.py": "", "pyro_mcp/engine/qemu.py": "", "pyro_mcp/workspaces/pyro.py": ""}
    tree |= {"pyro_mcp/server/tools.py": "", "claude_bottle/__init__.py": ""}

    assert len(layer_faults(planted(tmp_path, {**tree, f"pyro_mcp/{module}.py": line}))) == 1


def test_imports_along_the_table_are_left_alone(tmp_path: Path) -> None:
    graph = planted(
        tmp_path,
        {
            "pyro_mcp/__init__.py": "from pyro_mcp.workspaces import Pyro",
            "pyro_mcp/errors.py": "",
            "pyro_mcp/host/__init__.py": "",
            "pyro_mcp/host/files.py": "from pyro_mcp.errors import Busy",
            "pyro_mcp/engine/__init__.py": "from pyro_mcp.engine.qemu import Machine",
            "pyro_mcp/engine/qemu.py": "import os\nfrom pyro_mcp.host import files",
            "pyro_mcp/workspaces/__init__.py": "from pyro_mcp.engine import Machine",
            "pyro_mcp/cli/__init__.py": "from pyro_mcp import Pyro\nfrom pyro_mcp.cli import run",
            "pyro_mcp/cli/run.py": "from pyro_mcp.errors import PyroError",
        },
    )

    assert layer_faults(graph) == []
    assert find_cycle(graph) == []


def test_a_ring_of_three_modules_is_found(tmp_path: Path) -> None:
    graph = planted(
        tmp_path,
        {
            "moot/a.py": "from moot import b",
            "moot/b.py": "import moot.c",
            "moot/c.py": "def late():\n    from moot.a import thing",
        },
    )

    assert find_cycle(graph) == ["moot.a", "moot.b", "moot.c", "moot.a"]
