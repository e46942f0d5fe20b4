"""A workspace whose client, or whose whole machine, is killed at random moments: each step is done or not done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from tests.vm.killed_workspace_client import STEPS

pytestmark = pytest.mark.accelerators("uml", "qemu")

_CRASHES = os.environ.get("PYRO_TEST_CRASHES", "200")
# An emulated machine takes several times as long, and nine of ten moments are the same code.
_CRASHES_OF_QEMU = os.environ.get("PYRO_TEST_CRASHES", "24")
_KEPT = "print('kept')\n"


class Subject:
    """One workspace that survives many crashes, and the checks of it."""

    def __init__(self, pyro: Pyro, home: Path) -> None:
        seed = home / "seed"
        seed.mkdir()
        (seed / "kept.py").write_text(_KEPT)
        self.pyro, self.home = pyro, home
        self.id = pyro.create_workspace("debian:12", seed_path=seed)["workspace_id"]

    def calls(self, step: str) -> int:
        """Return how many moments there are to be killed at in a step."""
        done = self._live(step, 0, "client")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def crash(self, step: str, moment: int, how: str) -> None:
        """Run a step that is killed at one moment; check that everything is as before or as after the step."""
        before = self.files()
        done = self._live(step, moment, how)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        self.pyro.reap_expired()
        status = self.pyro.status_workspace(self.id)
        processes = [found for found in find_processes(str(self.home)) if self._is_of(found.pid, self.id)]
        assert len(processes) == (status["state"] == "running"), status
        if status["state"] != "running":
            assert status["state"] in ("stopped", "failed")
            self.pyro.start_workspace(self.id)
        self._check_files(step, moment, how, before)
        self._check_nothing_else()

    def files(self) -> dict[str, str]:
        """Return the names and contents of the files in /workspace."""
        done = self.pyro.exec_workspace(self.id, command="grep -r '' . | sort")
        return dict(line.split(":", 1) for line in done["stdout"].splitlines())

    def _check_files(self, step: str, moment: int, how: str, before: dict[str, str]) -> None:
        after = {"write": {**before, "./written": str(moment)}, "exec": {**before, "./executed": str(moment)}}
        allowed = [before, after.get(step, before)]
        if step == "exec":  # the shell makes the file before it writes to it
            allowed.append({name: text for name, text in before.items() if name != "./executed"})
        if step == "reset":
            allowed.append({"./kept.py": _KEPT.strip()})
        found = self.files()
        if how == "power":  # it may take what a command wrote and nobody flushed; what a verb acknowledged it may not
            for one in (found, *allowed):
                one.pop("./executed", None)
        assert found in allowed

    def _check_nothing_else(self) -> None:
        """Check that whatever the step made beside the workspace can be deleted, and delete it."""
        for one in self.pyro.list_workspaces()["workspaces"]:
            if one["workspace_id"] != self.id:
                self.pyro.delete_workspace(one["workspace_id"])
        for snapshot in self.pyro.list_snapshots(self.id)["snapshots"][1:]:
            self.pyro.delete_snapshot(self.id, snapshot["snapshot_name"])
        assert [path.name for path in (self.home / "state/pyro-mcp/machines").iterdir()] == [self.id]
        assert len(find_processes(str(self.home))) == 1

    def _live(self, step: str, moment: int, how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.vm.killed_workspace_client", step, self.id, str(moment), how]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _is_of(self, pid: int, id_: str) -> bool:
        return id_.encode() in Path("/proc", str(pid), "cmdline").read_bytes()


@pytest.mark.timeout(1800)
def test_crashes_leave_a_workspace_as_before_or_as_after(pyro: Pyro, home: Path, accelerator: str) -> None:
    crashes = int(_CRASHES if accelerator == "uml" else _CRASHES_OF_QEMU)
    subject = Subject(pyro, home)
    chance = random.Random(20261121)  # noqa: S311 - the same moments in every run
    moments = {step: subject.calls(step) for step in STEPS}
    pyro.start_workspace(subject.id)
    try:
        for number in range(crashes):
            step = chance.choice(list(STEPS))
            moment, how = chance.randint(1, moments[step]), chance.choice(["client", "power"])
            sys.stdout.write(f"{number}: {step} at {moment} of {moments[step]}, {how}\n")
            subject.crash(step, moment, how)
    finally:
        for one in pyro.list_workspaces()["workspaces"]:
            pyro.delete_workspace(one["workspace_id"])
