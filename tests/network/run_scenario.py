"""Run one scenario in the namespaces of this process: `python -m tests.network.run_scenario NAME FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.network import (
    address_scenarios,
    container_scenarios,
    gateway_scenarios,
    metered_scenarios,
    supervised_end_scenarios,
    supervised_scenarios,
    upstream_scenarios,
)
from tests.network.scenario import SCENARIOS
from tests.network.testbed import Testbed

__all__ = ["MODULES", "SCENARIOS"]

MODULES = (
    address_scenarios,
    container_scenarios,
    gateway_scenarios,
    metered_scenarios,
    supervised_end_scenarios,
    supervised_scenarios,
    upstream_scenarios,
)
"""The modules with scenarios; importing them fills `SCENARIOS`."""

if __name__ == "__main__":
    with Testbed(Path(sys.argv[2])) as the_testbed:
        SCENARIOS[sys.argv[1]](the_testbed)
