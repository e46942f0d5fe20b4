"""Imports run one way, and a layer is used through its package's public names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_mcp import host
from tests.style.imports import Graph, find_cycle, import_graph
from tests.style.project import ROOT

_GROUND = {"pyro_mcp.errors", "pyro_mcp.hints", "pyro_mcp.results", "pyro_mcp.serving"}
_FACE = {*_GROUND, "pyro_mcp", "pyro_mcp.core"}
_NETWORK = {
    *_GROUND,
    "pyro_mcp.host",
    "pyro_mcp.redaction",
    "pyro_mcp.network.addressing",
    "pyro_mcp.network.metering",
}
_MACHINES = {
    *_GROUND,
    "pyro_mcp.engine",
    "pyro_mcp.environments",
    "pyro_mcp.host",
    "pyro_mcp.network",
    "pyro_mcp.redaction",
}
_WORKSPACES = {*_MACHINES, "pyro_mcp.guest_protocol", "pyro_mcp.machines", "pyro_mcp.trees"}
PUBLISHED = {
    "pyro_mcp",
    "pyro_mcp.agent_programs",
    "pyro_mcp.errors",
    "pyro_mcp.hints",
    "pyro_mcp.results",
    "pyro_mcp.command_line",
    "pyro_mcp.host",
    "pyro_mcp.mcp_transport",
    "pyro_mcp.redaction",
    "pyro_mcp.network",
    "pyro_mcp.sessions",
    "pyro_mcp.terminal",
    "pyro_mcp.trees",
    "pyro_mcp.visible",
}
"""What the packages above this one may use."""

ABOVE = ("claude_bottle", "moot")
PUBLISHED_OF_HOST = {"pyro_mcp.host", *(f"pyro_mcp.host.{name}" for name in host.__all__)}

# The layers of the space server, from the bottom; each may import those before it.
_SPACE_LAYERS = (
    *("clock", "errors", "results", "settings", "logs"),
    *("database", "identity", "spaces", "events", "delivery", "objects", "admin", "api"),
)
_OF_SPACES = [f"moot.server.{name}" for name in _SPACE_LAYERS]
# What the space server and the teams share.
_SHARED = {f"moot.{name}" for name in ("id_encoding", "toml_tables", "known_words", "response_format", "team_profile")}
MOOT_SERVER = {layer: {*PUBLISHED, *_SHARED, *_OF_SPACES[:number]} for number, layer in enumerate(_OF_SPACES)}

# The layers of teams, from the bottom; each may import those before it, and nothing of the server.
_TEAM_LAYERS = (
    *("client", "config", "agents", "harness", "mailbox", "adapters", "hooks"),
    *("bottled", "runtimes", "scaffold", "team", "demo"),
)
_OF_TEAMS = [f"moot.{name}" for name in _TEAM_LAYERS]
MOOT_TEAMS = {
    layer: {*PUBLISHED, "claude_bottle", *_SHARED, *_OF_TEAMS[:number]} for number, layer in enumerate(_OF_TEAMS)
}

# The layers of bottles, from the bottom; each may import those before it. The guard is in three places: its names, its
# store of requests, and what uses backends.
_BOTTLE_LAYERS = (
    *("errors", "results", "database", "audit", "state", "logins"),
    *("gate.remotes", "manifest", "guard.names"),
    *("guard.settings", "guard.presence", "guard.database", "guard.changes", "guard.requests", "guard.approvals"),
    *("guard.front_process", "guard.front", "guard.bottle_journal", "guard.part", "budget", "gate"),
    *("backend.archive_entry", "backend.interface", "harness", "provision", "backend"),
    *("login_loan", "bottle_info", "guard"),
    *("launch_records", "launch", "planning", "trust_report", "network_report", "request_facts", "demo"),
    *("approval_verbs", "audit_verbs", "bottles", "page", "watch", "cli"),
)
_OF_BOTTLES = [f"claude_bottle.{name}" for name in _BOTTLE_LAYERS]
BOTTLES = {layer: {*PUBLISHED, *_OF_BOTTLES[:number]} for number, layer in enumerate(_OF_BOTTLES)}

# Each layer, and the layers that it may import. A module belongs to the longest name that it starts with.
MAY_IMPORT = {
    "pyro_mcp._version": set[str](),
    "pyro_mcp.hints": set[str](),
    "pyro_mcp.visible": set[str](),
    "pyro_mcp.errors": {"pyro_mcp.hints"},
    "pyro_mcp.results": set[str](),
    "pyro_mcp.serving": {"pyro_mcp.errors", "pyro_mcp.hints"},
    "pyro_mcp.host": {"pyro_mcp.errors", "pyro_mcp.hints"},
    "pyro_mcp.guest_protocol": {"pyro_mcp.errors"},
    "pyro_mcp.environments": {*_GROUND, "pyro_mcp.host"},
    "pyro_mcp.agent_programs": {"pyro_mcp.environments", "pyro_mcp.host"},
    "pyro_mcp.redaction": {"pyro_mcp.errors"},
    "pyro_mcp.terminal": {"pyro_mcp.errors"},
    "pyro_mcp.network": {
        *_NETWORK,
        *(f"pyro_mcp.network.{room}" for room in ("gateway", "devices", "http", "policy", "supervision")),
    },
    "pyro_mcp.network.addressing": _GROUND,
    "pyro_mcp.network.metering": _GROUND,
    "pyro_mcp.network.dns": _NETWORK,
    "pyro_mcp.network.policy": {*_NETWORK, "pyro_mcp.network.dns"},
    "pyro_mcp.network.channel": {*_NETWORK, "pyro_mcp.network.dns"},
    "pyro_mcp.network.http": {*_NETWORK, "pyro_mcp.network.channel", "pyro_mcp.network.policy"},
    "pyro_mcp.network.devices": {*_NETWORK, "pyro_mcp.network.channel"},
    "pyro_mcp.network.gateway": {
        *_NETWORK,
        *(f"pyro_mcp.network.{room}" for room in ("channel", "dns", "devices", "http", "policy", "supervision")),
    },
    "pyro_mcp.network.supervision": {*_NETWORK, "pyro_mcp.network.channel", "pyro_mcp.network.policy"},
    "pyro_mcp.engine": {*_GROUND, "pyro_mcp.host", "pyro_mcp.guest_protocol"},
    "pyro_mcp.engine.guest": {
        *_GROUND,
        "pyro_mcp.engine",
        "pyro_mcp.engine.qemu",
        "pyro_mcp.engine.uml",
        "pyro_mcp.host",
    },
    "pyro_mcp.engine.qemu": {
        *_GROUND,
        "pyro_mcp.engine",
        "pyro_mcp.guest_protocol",
        "pyro_mcp.host",
        "pyro_mcp.network",
    },
    "pyro_mcp.trees": {*_GROUND, "pyro_mcp.host", "pyro_mcp.engine", "pyro_mcp.guest_protocol"},
    "pyro_mcp.machines": _MACHINES,
    "pyro_mcp.workspaces": _WORKSPACES,
    "pyro_mcp.engine.uml": {*_GROUND, "pyro_mcp.engine", "pyro_mcp.engine.qemu", "pyro_mcp.host"},
    "pyro_mcp.builds": {*_WORKSPACES, "pyro_mcp.workspaces"},
    "pyro_mcp.sessions": {*_WORKSPACES, "pyro_mcp.terminal", "pyro_mcp.workspaces"},
    "pyro_mcp.core": {
        *_WORKSPACES,
        "pyro_mcp.builds",
        "pyro_mcp.chat_hosts",
        "pyro_mcp.engine.guest",
        "pyro_mcp.sessions",
        "pyro_mcp.workspaces",
    },
    "pyro_mcp.mcp_transport": _GROUND,
    "pyro_mcp.mcp_server": {*_GROUND, "pyro_mcp._version", "pyro_mcp.core", "pyro_mcp.host", "pyro_mcp.mcp_transport"},
    "pyro_mcp.sdk": {"pyro_mcp.core", "pyro_mcp.mcp_server", "pyro_mcp.serving"},
    "pyro_mcp": {"pyro_mcp._version", "pyro_mcp.sdk", "pyro_mcp.core"},
    "pyro_mcp.command_line": {"pyro_mcp.errors", "pyro_mcp.hints"},
    "pyro_mcp.cli": {*_FACE, "pyro_mcp.command_line", "pyro_mcp.terminal"},
    "pyro_mcp.chat_hosts": {*_GROUND, "pyro_mcp.host"},
    "pyro_mcp.workspace_use_case_smokes": _FACE,
    "claude_bottle": {*PUBLISHED, "claude_bottle.manifest", "claude_bottle.bottles", "claude_bottle.results"},
    **BOTTLES,
    "moot": {*PUBLISHED, "claude_bottle"},
    "moot.id_encoding": set[str](),
    "moot.response_format": set[str](),
    "moot.toml_tables": PUBLISHED,
    "moot.known_words": {*PUBLISHED, "moot.toml_tables"},
    "moot.team_profile": {*PUBLISHED, "moot.toml_tables", "moot.known_words"},
    **MOOT_SERVER,
    **MOOT_TEAMS,
    "moot.__main__": {"moot.cli"},
    "moot.cli": {*PUBLISHED, *_SHARED, *_OF_SPACES, *_OF_TEAMS},
}

# Packages whose modules are used directly; every other package is used by its own name alone.
USED_BY_MODULE = {
    "pyro_mcp.host",
    "pyro_mcp.mcp_transport",
    "pyro_mcp.guest_protocol",
    "moot.client",
    "moot.agents",
    "moot.mailbox",
    "moot.adapters",
    "moot.bottled",
    *(layer for layer in MAY_IMPORT if layer.startswith(("pyro_mcp.network.", "moot.server.", "claude_bottle."))),
}


def layer_of(module: str) -> str:
    """Return the layer of a module, or the module's own name when it is in `pyro_mcp` and in no layer."""
    found = max((layer for layer in MAY_IMPORT if f"{module}.".startswith(f"{layer}.")), key=len)
    return module if found == "pyro_mcp" and module != found else found


def layer_faults(graph: Graph) -> list[str]:
    """Return what is wrong with the imports, one sentence each."""
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
            elif (
                layer.startswith(("claude_bottle", "moot"))
                and its_layer == "pyro_mcp.host"
                and target not in PUBLISHED_OF_HOST
            ):
                faults.append(f"{module} imports {target}, which is not in pyro_mcp.host.__all__")
            elif target != its_layer and its_layer not in USED_BY_MODULE and not layer.startswith(f"{its_layer}."):
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
        ("engine/disks", "from pyro_mcp.environments import RootImage"),
        ("engine/disks", "def late():\n    import pyro_mcp.workspaces"),
        ("engine/disks", "from pyro_mcp.engine.qemu import QemuStarter"),
        ("workspaces/access", "from pyro_mcp.engine.guest import GuestEngine"),
        ("workspaces/access", "from pyro_mcp.engine.disks import Layers"),
        ("core/pyro", "from pyro_mcp.engine.guest.choice import Choice"),
        ("cli/run", "from pyro_mcp.mcp_server import tools"),
        ("cli/run", "from pyro_mcp.engine import Machine"),
        ("mcp_server/tools", "from pyro_mcp.core.pyro import Pyro"),
        ("network/dns/upstream", "from pyro_mcp.network.policy import rules"),
        ("stray", ""),
        ("../claude_bottle/bottle", "from pyro_mcp.workspaces import WorkspaceAccess"),
        ("../claude_bottle/bottle", "from pyro_mcp.core import Pyro"),
        ("../claude_bottle/bottle", "from pyro_mcp.network.policy import rules"),
        ("../claude_bottle/bottle", "from pyro_mcp.host import seccomp"),
        ("../claude_bottle/bottle", "import moot"),
        ("../claude_bottle/manifest/git", "from claude_bottle.guard import requests"),
        ("../claude_bottle/gate/push", "def late():\n    from claude_bottle.guard.kinds import KINDS"),
        ("../moot/server/database/tables", "from moot.server.events import log"),
        ("../moot/client/space_client", "from moot.server.events import log"),
    ],
)
def test_an_import_against_the_table_is_seen(tmp_path: Path, module: str, line: str) -> None:
    packages = ["host", "engine", "engine/guest", "engine/qemu", "environments", "workspaces", "core", "mcp_server"]
    packages += ["network", "network/dns", "network/policy"]
    tree = {f"pyro_mcp/{name}/__init__.py": "" for name in packages} | {"pyro_mcp/__init__.py": ""}
    tree |= {f"pyro_mcp/{name}.py": "" for name in ("engine/disks", "engine/guest/choice", "core/pyro")}
    tree |= {f"pyro_mcp/{name}.py": "" for name in ("host/seccomp", "mcp_server/tools", "network/policy/rules")}
    tree |= {f"{name}/__init__.py": "" for name in ("claude_bottle", "moot", "moot/server", "moot/server/database")}
    tree |= {"moot/server/events/__init__.py": "", "moot/server/events/log.py": ""}
    tree |= {f"claude_bottle/guard/{name}.py": "" for name in ("__init__", "requests", "kinds")}

    assert len(layer_faults(planted(tmp_path, {**tree, f"pyro_mcp/{module}.py": line}))) == 1


def test_imports_along_the_table_are_left_alone(tmp_path: Path) -> None:
    graph = planted(
        tmp_path,
        {
            "pyro_mcp/__init__.py": "from pyro_mcp.core import Pyro",
            "pyro_mcp/errors.py": "",
            "pyro_mcp/host/__init__.py": "",
            "pyro_mcp/host/files.py": "from pyro_mcp.errors import Busy",
            "pyro_mcp/engine/__init__.py": "from pyro_mcp.engine.interface import Engine",
            "pyro_mcp/engine/interface.py": "import os\nfrom pyro_mcp.host import files",
            "pyro_mcp/engine/guest/__init__.py": "from pyro_mcp.engine.interface import Engine",
            "pyro_mcp/core/__init__.py": "from pyro_mcp.engine import Engine\nfrom pyro_mcp.engine.guest import Guests",
            "pyro_mcp/cli/__init__.py": "from pyro_mcp import Pyro\nfrom pyro_mcp.cli import run",
            "pyro_mcp/cli/run.py": "from pyro_mcp.errors import PyroError",
            "claude_bottle/docker.py": "from pyro_mcp.network import Rules\nfrom pyro_mcp.host.files import locked",
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
