"""What a user sees when the disk that holds the state is full: `python -m tests.vm.full_disk_story FOLDER OPTION`.

To be run in a mount namespace of its own, where FOLDER becomes a small disk with the mount option OPTION.
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


def main() -> None:
    folder, option = Path(sys.argv[1]), sys.argv[2]
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
    os.environ["XDG_STATE_HOME"] = str(folder)
    pyro = Pyro()
    told: dict[str, Any] = {}
    ids = [pyro.create_workspace("debian:12")["workspace_id"] for _ in range(2)]
    if option.startswith("size"):
        told["said"] = [by_guest(pyro, ids[0], _FILL), by_guest(pyro, ids[0], "true")]
    fill(folder)
    told["list"] = [one["state"] for one in pyro.list_workspaces()["workspaces"]]
    told["status"] = pyro.status_workspace(ids[0])["state"]
    told["deleted"] = [pyro.delete_workspace(ids[0])["deleted"]]
    (folder / "filler").unlink()
    told["other"] = pyro.exec_workspace(ids[1], command="echo still; echo kept > file; sync")["stdout"]
    told["deleted"] += [pyro.delete_workspace(ids[1])["deleted"]]
    told["left"] = os.listdir(folder / "pyro-mcp/machines")
    print(json.dumps(told))  # noqa: T201 - the test reads it


def by_guest(pyro: Pyro, id_: str, command: str) -> tuple[str, bool]:
    """What a command ends with that finds the disk full, and whether that came soon."""
    started = time.monotonic()
    try:
        pyro.exec_workspace(id_, command=command, timeout_seconds=120)
        said = "nothing"
    except NoSpace as error:
        said = error.message
    return said, time.monotonic() - started < 60


def fill(folder: Path) -> None:
    """Use up the last byte and the last inode, with what was held back for this moment."""
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
