"""Something of the shape of `Pyro` whose workspaces are folders on this host: just what the workflows call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.waiting import until

_READY_SECONDS = 10.0


class Interrupted(Exception):
    """What `fail_at` makes a call raise."""


class StandInServer:
    """Answers `call_tool` with a pair, as servers of the SDK's first generation did."""

    def __init__(self, pyro: StandIn, project: Path) -> None:
        self._pyro = pyro
        self._project = project

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> object:
        assert name == "workspace_create"
        assert "seed_path" not in arguments
        made = self._pyro.create_workspace(seed_path=self._project, **arguments)
        return self.answer(made)

    def answer(self, made: dict[str, Any]) -> object:
        return ([], made)


class StandIn:
    """Takes the arguments of the documented calls and no others; `fail_at` is the number of the call that fails."""

    execution_mode = "guest_stand_in"

    def __init__(self, root: Path, *, fail_at: int = 0) -> None:
        self.root = root
        self.records: dict[str, dict[str, Any]] = {}
        self.created: list[str] = []
        self.calls = 0
        self._fail_at = fail_at
        self._moment = 0
        self._services: dict[str, subprocess.Popen[bytes]] = {}

    def create_server(self, *, profile: str, project_path: Path) -> StandInServer:
        assert profile == "workspace-core"
        return StandInServer(self, project_path)

    def create_workspace(
        self,
        *,
        environment: str,
        seed_path: Path,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        network_policy: str = "off",
    ) -> dict[str, Any]:
        self._count()
        id_ = f"w{len(self.created)}"
        shutil.copytree(seed_path, self.root / id_ / "workspace")
        shutil.copytree(seed_path, self.root / id_ / "baseline")
        self.created.append(id_)
        self.records[id_] = {
            "workspace_id": id_,
            "environment": environment,
            "name": name,
            "labels": dict(labels or {}),
            "network_policy": network_policy,
            "workspace_seed": {"seed_path": str(seed_path)},
            "execution_mode": self.execution_mode,
        }
        self.touch(id_, count=False)
        return dict(self.records[id_])

    def delete_workspace(self, id_: str) -> dict[str, Any]:
        del self.records[id_]
        self._end_service(id_)
        return {"workspace_id": id_, "deleted": True}

    def status_workspace(self, id_: str) -> dict[str, Any]:
        self._count()
        return dict(self.records[id_])

    def update_workspace(self, id_: str, *, labels: dict[str, str]) -> dict[str, Any]:
        self.touch(id_)
        self.records[id_]["labels"].update(labels)
        return dict(self.records[id_])

    def list_workspaces(self) -> dict[str, Any]:
        self._count()
        rows = sorted(self.records.values(), key=lambda row: row["last_activity_at"], reverse=True)
        return {"count": len(rows), "workspaces": rows}

    def exec_workspace(self, id_: str, *, command: str) -> dict[str, Any]:
        self.touch(id_)
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.tree(id_), capture_output=True, text=True, timeout=30, check=False
        )
        return {
            "exit_code": done.returncode,
            "stdout": done.stdout,
            "stderr": done.stderr,
            "execution_mode": self.execution_mode,
        }

    def start_service(self, id_: str, name: str, *, command: str, readiness: dict[str, str]) -> dict[str, Any]:
        self.touch(id_)
        assert name == "app"
        assert readiness["type"] == "file"
        log = (self.root / id_ / "app.log").open("wb")
        with log:
            self._services[id_] = subprocess.Popen(
                ["sh", "-c", command], cwd=self.tree(id_), stdout=log, start_new_session=True
            )
        ready = self.tree(id_) / readiness["path"]
        until("the service is ready", ready.exists, deadline_seconds=_READY_SECONDS)
        return {"state": "running"}

    def logs_service(self, id_: str, name: str, *, tail_lines: int = 200) -> dict[str, Any]:
        self._count()
        assert name == "app"
        return {"stdout": "\n".join((self.root / id_ / "app.log").read_text().splitlines()[-tail_lines:])}

    def stop_service(self, id_: str, name: str) -> dict[str, Any]:
        self.touch(id_)
        assert name == "app"
        self._end_service(id_)
        return {"state": "stopped"}

    def list_workspace_files(self, id_: str, path: str = "/workspace", recursive: bool = False) -> dict[str, Any]:
        self._count()
        assert (path, recursive) == ("/workspace", False)
        return {"entries": [{"path": f"/workspace/{name}"} for name in sorted(os.listdir(self.tree(id_)))]}

    def read_workspace_file(self, id_: str, path: str) -> dict[str, Any]:
        self._count()
        return {"path": f"/workspace/{path}", "content": (self.tree(id_) / path).read_text()}

    def write_workspace_file(self, id_: str, path: str, *, text: str) -> dict[str, Any]:
        self.touch(id_)
        (self.tree(id_) / path).write_text(text)
        return {"path": f"/workspace/{path}"}

    def apply_workspace_patch(self, id_: str, *, patch: str) -> dict[str, Any]:
        self.touch(id_)
        git = ["git", "apply", "--unsafe-paths", f"--directory={self.tree(id_)}"]
        subprocess.run(git, input=patch, text=True, cwd="/", timeout=30, check=True)
        return {"changed": True}

    def diff_workspace(self, id_: str) -> dict[str, Any]:
        self._count()
        compared = ["diff", "--recursive", "--brief", str(self.root / id_ / "baseline"), str(self.tree(id_))]
        return {"changed": subprocess.run(compared, capture_output=True, timeout=30, check=False).returncode == 1}

    def export_workspace(self, id_: str, path: str, *, output_path: Path) -> dict[str, Any]:
        self._count()
        shutil.copy(self.tree(id_) / path, output_path)
        return {"output_path": str(output_path)}

    def create_snapshot(self, id_: str, name: str) -> dict[str, Any]:
        self.touch(id_)
        shutil.copytree(self.tree(id_), self.root / id_ / name)
        return {"snapshot": {"snapshot_name": name}}

    def reset_workspace(self, id_: str, *, snapshot: str = "baseline") -> dict[str, Any]:
        self.touch(id_)
        shutil.rmtree(self.tree(id_))
        shutil.copytree(self.root / id_ / snapshot, self.tree(id_))
        return dict(self.records[id_])

    def summarize_workspace(self, id_: str) -> dict[str, Any]:
        return {"changes": self.diff_workspace(id_)}

    def open_shell(self, id_: str) -> dict[str, Any]:
        self.touch(id_)
        (self.root / id_ / "screen").write_text("$ ")
        return {"shell_id": "s1"}

    def write_shell(self, id_: str, shell_id: str, *, input: str) -> dict[str, Any]:  # noqa: A002 - Pyro's name
        assert shell_id == "s1"
        said = self.exec_workspace(id_, command=input)["stdout"]
        with (self.root / id_ / "screen").open("a") as screen:
            screen.write(f"{input}\n{said}$ ")
        return {"shell_id": shell_id}

    def read_shell(
        self, id_: str, shell_id: str, *, cursor: int = 0, plain: bool = False, wait_for_idle_ms: int | None = None
    ) -> dict[str, Any]:
        self._count()
        assert shell_id == "s1" and plain and wait_for_idle_ms
        return {"output": (self.root / id_ / "screen").read_text()[cursor:]}

    def close_shell(self, id_: str, shell_id: str) -> dict[str, Any]:
        self.touch(id_)
        assert shell_id == "s1"
        return {"closed": True}

    def tree(self, id_: str) -> Path:
        """Where a workspace's files are."""
        assert id_ in self.records
        return self.root / id_ / "workspace"

    def touch(self, id_: str, *, count: bool = True) -> None:
        """Note that a call has used a workspace."""
        if count:
            self._count()
        self._moment += 1
        self.records[id_]["last_activity_at"] = float(self._moment)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._fail_at:
            raise Interrupted

    def _end_service(self, id_: str) -> None:
        if id_ in self._services:
            service = self._services.pop(id_)
            os.killpg(service.pid, signal.SIGKILL)
            service.wait(10)
