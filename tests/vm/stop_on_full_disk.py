"""Stop a workspace whose unflushed data do not fit on the disk: `python -m tests.vm.stop_on_full_disk FOLDER OPTION`.

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

# More than the disk has room for, made in less than the time after which the guest's kernel writes by itself.
_BIG = "for number in $(seq 60); do cat block; done"


def main() -> None:
    folder, option = Path(sys.argv[1]), sys.argv[2]
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder], check=True)
    os.environ["XDG_STATE_HOME"] = str(folder)
    pyro, seen = Pyro(), dict[str, Any]()
    id_ = pyro.create_workspace("debian:12")["workspace_id"]
    try:
        pyro.exec_workspace(id_, command="head -c 1M /dev/urandom > block; sync")
        pyro.exec_workspace(id_, command=f"{_BIG} > big")
        started = time.monotonic()
        try:
            pyro.stop_workspace(id_)
        except NoSpace as error:
            seen["said"], seen["seconds"] = str(error), time.monotonic() - started
        seen["state"] = pyro.status_workspace(id_)["state"]
        subprocess.run(["mount", "-o", "remount,size=400M", folder], check=True)
        seen["stopped"] = pyro.stop_workspace(id_)["state"]
        pyro.start_workspace(id_)
        seen["kept"] = pyro.exec_workspace(id_, command=f"{_BIG} | cmp - big")["exit_code"] == 0
    finally:
        pyro.delete_workspace(id_)
    print(json.dumps(seen))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main()
