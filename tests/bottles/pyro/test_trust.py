"""Each kind of program in a machine trusts the certificates of its bottle's gateway."""

from __future__ import annotations

from tests.bottles import trusting
from tests.bottles.pyro.conftest import Launcher, ended


def test_programs_in_a_machine_trust_the_authority_of_their_bottle(launcher: Launcher) -> None:
    trusting.copy_requests(launcher.folder)
    with trusting.host() as upstream:
        bottle = launcher.launch(
            {"harness": ["bash", "-c", trusting.ASK]}, {"egress": [{"host": trusting.HOST, "upstream": upstream}]}
        )
        ended(bottle)
    trusting.check(bottle.output(most=20_000).decode())
