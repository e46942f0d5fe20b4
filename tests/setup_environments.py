"""The environments that the tests start machines of, pulled before a run: `python -m tests.setup_environments`.

A test has 300 s, and a build or a download takes a part of that on a busy host.
"""

from __future__ import annotations

import sys

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import PyroError
from tests.conftest import real_cache

ENVIRONMENTS = ("debian:12", "debian:12-agent")


def main() -> int:
    """Pull what is not there yet, and return the exit code."""
    store = EnvironmentStore(real_cache())
    for name in ENVIRONMENTS:
        if store.installed(name) is None:
            print(f"== the environment {name} for the tests", flush=True)
            try:
                store.pull(name)
            except PyroError as error:
                print(f"setup_environments: {error}", file=sys.stderr)
                return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
