"""python -P -m moot.hooks EVENT RUN_FOLDER [HARNESS]"""

from __future__ import annotations

import json
import os
import sys
import time

from moot.hooks.events import answer

_LARGEST_LOG = 256 * 1024


def main() -> int:
    """Answer one event. The exit code is 0 whatever happens: another one would stop the agent's tool or turn."""
    event, run_folder, harness = [*sys.argv[1:], "claude-code"][:3]
    try:
        found = answer(event, run_folder, json.load(sys.stdin), harness=harness)
        if found is not None:
            sys.stdout.write(json.dumps(found))
            sys.stdout.flush()
    except Exception:  # noqa: BLE001 - whatever it is, the agent must go on
        import traceback  # noqa: PLC0415 - needed only here, and slow to import

        _log(run_folder, f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {event}\n{traceback.format_exc()}")
    return 0


def _log(run_folder: str, text: str) -> None:
    """Add an error to the log of the role; a large log begins anew. Without its folder, the launch is over."""
    path = os.path.join(run_folder, "..", "..", "logs", f"hooks-{os.path.basename(run_folder)}.log")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "a", encoding="utf-8") as file:
            if file.tell() > _LARGEST_LOG:
                file.truncate(0)
            file.write(text)
    except OSError:
        sys.stderr.write(text)


sys.exit(main())
