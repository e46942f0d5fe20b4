"""Each kind of program in a machine trusts the certificates of its bottle's gateway."""

from __future__ import annotations

import shutil

import pytest

from tests.bottles import trusting
from tests.bottles.pyro.conftest import Launcher, ended
from tests.style.project import ROOT

JAVA = ROOT / "build/java"


def test_programs_in_a_machine_trust_the_authority_of_their_bottle(launcher: Launcher) -> None:
    trusting.copy_requests(launcher.folder)
    with trusting.host() as upstream:
        bottle = launcher.launch(
            {"harness": ["bash", "-c", trusting.ASK]}, {"egress": [{"host": trusting.HOST, "upstream": upstream}]}
        )
        ended(bottle)
    trusting.check(bottle.output(most=20_000).decode())


@pytest.mark.skipif(not (JAVA / "made-from").exists(), reason="make setup-test could not get Debian's Java")
def test_java_in_a_machine_trusts_the_authority_of_its_bottle(launcher: Launcher) -> None:
    shutil.copytree(JAVA, launcher.folder / "java")
    ask = f"java/bin/java -cp java/classes Ask https://{trusting.HOST}/"
    with trusting.host() as upstream:
        bottle = launcher.launch(
            {"harness": ["bash", "-c", f"{ask}; {ask.replace('-cp', '-Djavax.net.ssl.trustStore=/dev/null -cp')}"]},
            {"egress": [{"host": trusting.HOST, "upstream": upstream}]},
        )
        assert ended(bottle) == 1
    shown = bottle.output(most=20_000).decode()
    assert shown.count(trusting.ANSWER) == 1, shown
    assert "trustAnchors parameter must be non-empty" in shown
