"""The program that makes one spare machine in the background: `spare_maker.py CACHE STATE ORDER`.

It is run by its path, so that nothing of the package is imported before it has lowered its priority. The state folder
may be removed while it works; it does not make that folder again.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

_LOWEST_PRIORITY = 19


def make_spare(cache: Path, state: Path, order: str, starter: Executor) -> None:
    """Make a spare machine in the state folder; see `Spares.make`. Raises `PyroError` and `OSError`."""
    from pyro_mcp.engine.guest import GuestEngine  # noqa: PLC0415 - see above
    from pyro_mcp.environments import EnvironmentStore  # noqa: PLC0415
    from pyro_mcp.machines import Images, Order, Spares  # noqa: PLC0415

    wanted = Order(**json.loads(order))
    environments = EnvironmentStore(cache, own=state / "environments")
    image = environments.find_build(wanted.environment, wanted.root_digest)
    if image is not None:  # else it was removed meanwhile
        Spares(state / "spares").make(GuestEngine(cache), Images(environments).system(image), wanted, starter)


def main() -> None:
    cache, state, order = sys.argv[1:]
    with ThreadPoolExecutor(max_workers=1) as ordinary:
        # Linux keeps a priority for each thread, and an ordinary user cannot raise it again. The machine inherits that
        # of the thread that starts it, and it is to be as fast as any when somebody takes it.
        ordinary.submit(os.getpid).result()
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        from pyro_mcp.errors import PyroError  # noqa: PLC0415

        try:
            make_spare(Path(cache), Path(state), order, ordinary)
        except (PyroError, OSError) as error:
            sys.exit(error.message if isinstance(error, PyroError) else str(error))


if __name__ == "__main__":
    main()
