"""The program that makes one spare machine in the background: `spare_maker.py CACHE STATE ORDER`.

It is run by its path, so that nothing of the package is imported before it has lowered its priority.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOWEST_PRIORITY = 19


def main() -> None:
    cache, state, text = sys.argv[1:]
    with ThreadPoolExecutor(max_workers=1) as ordinary:
        # Linux keeps a priority for each thread, and an ordinary user cannot raise it again. The machine inherits that
        # of the thread that starts it, and it is to be as fast as any when somebody takes it.
        ordinary.submit(os.getpid).result()
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        from pyro_mcp.core.components import Components  # noqa: PLC0415 - see above
        from pyro_mcp.errors import PyroError  # noqa: PLC0415
        from pyro_mcp.machines import Order  # noqa: PLC0415

        try:
            Components(cache=Path(cache), state=Path(state))._make_spare(Order(**json.loads(text)), ordinary)
        except PyroError as error:
            sys.exit(error.message)


if __name__ == "__main__":
    main()
