"""Programs that use workspaces whose state is on a small disk: `python -m tests.vm.full_disk PROGRAM FOLDER OPTION`.

Each is run in a mount namespace of its own, where FOLDER becomes a small disk with the mount option OPTION, and prints
one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pyro_mcp import Pyro
from pyro_mcp.errors import NoSpace

_FILL = "head -c 150M /dev/urandom > big; sync"
# More than the disk has room for, written in less time than the guest's kernel lets pass before it flushes by itself.
_BIG = "for number in $(seq 60); do cat block; done"


def main() -> None:
    program, folder, option = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
    os.environ["XDG_STATE_HOME"] = str(folder)
    found = {"stop": stop, "fill": fill}[program](Pyro(), folder, option)
    print(json.dumps(found))  # noqa: T201 - the test reads it


def stop(pyro: Pyro, folder: Path, _: str) -> dict[str, Any]:
    """Stop a workspace whose unflushed data do not fit, then make room, stop it again, and check its data."""
    found: dict[str, Any] = {}
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    try:
        pyro.exec_workspace(id_, command="head -c 1M /dev/urandom > block; sync")
        pyro.exec_workspace(id_, command=f"{_BIG} > big")
        started = time.monotonic()
        try:
            pyro.stop_workspace(id_)
        except NoSpace as error:
            found["error"], found["seconds"] = str(error), time.monotonic() - started
        found["state"] = pyro.status_workspace(id_)["state"]
        subprocess.run(["mount", "-o", "remount,size=400M", folder], check=True)
        found["stopped"] = pyro.stop_workspace(id_)["state"]
        pyro.start_workspace(id_)
        found["kept"] = pyro.exec_workspace(id_, command=f"{_BIG} | cmp - big")["exit_code"] == 0
    finally:
        pyro.delete_workspace(id_)
    return found


def fill(pyro: Pyro, folder: Path, option: str) -> dict[str, Any]:
    """Fill the disk, by the guest when its size is limited, then from the host, and use and delete two workspaces."""
    found: dict[str, Any] = {}
    ids = [pyro.create_workspace("debian:12")["workspace_id"] for _ in range(2)]
    if option.startswith("size"):
        found["errors"] = [_error_of(pyro, ids[0], _FILL), _error_of(pyro, ids[0], "true")]
    _fill_from_host(folder)
    found["list"] = [one["state"] for one in pyro.list_workspaces()["workspaces"]]
    found["status"] = pyro.status_workspace(ids[0])["state"]
    found["deleted"] = [pyro.delete_workspace(ids[0])["deleted"]]
    (folder / "filler").unlink()
    found["other"] = pyro.exec_workspace(ids[1], command="echo still; echo kept > file; sync")["stdout"]
    found["deleted"] += [pyro.delete_workspace(ids[1])["deleted"]]
    found["left"] = os.listdir(folder / "pyro-mcp/machines")
    return found


def _error_of(pyro: Pyro, id_: str, command: str) -> tuple[str, bool]:
    """Run a command that finds the disk full; return the error's message, and whether it came within a minute."""
    started = time.monotonic()
    try:
        pyro.exec_workspace(id_, command=command, timeout_seconds=120)
        message = "no error"
    except NoSpace as error:
        message = error.message
    return message, time.monotonic() - started < 60


def _fill_from_host(folder: Path) -> None:
    """Use up the last byte and the last inode, also those that pyro has reserved for deletions."""
    for path in (folder / "pyro-mcp/reserve").iterdir():
        path.unlink()
    number = 0
    try:
        with open(folder / "filler", "wb", buffering=0) as file:
            while file.write(bytes(65536)) == 65536:
                pass
            while file.write(bytes(1)):
                pass
    except OSError:
        pass
    filled = folder / "inodes"
    try:
        filled.mkdir()
        while True:
            (filled / str(number)).touch()
            number += 1
    except OSError:
        return


if __name__ == "__main__":
    main()
