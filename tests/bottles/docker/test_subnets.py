"""A host whose own networks have the addresses that containers use."""

from __future__ import annotations

from tests.bottles.docker.conftest import IMAGE, Shelf
from tests.bottles.namespaced import check_colliding_subnets


def test_containers_work_on_a_host_with_the_same_subnets(shelf: Shelf) -> None:
    check_colliding_subnets("docker", f"oci:{IMAGE}", shelf.project)
