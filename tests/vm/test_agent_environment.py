"""The environment of whole agents: Claude Code and Node of the pinned versions, and an ordinary user."""

from __future__ import annotations

from pyro_mcp import Pyro
from pyro_mcp.environments.catalog import AGENT, CLAUDE_CODE, NODE, NPM

_LOOK = """
claude --version && node --version && npm --version && npx --version && rg --version && git --version && curl --version
python3 --version && uv --version && id --user && pwd && test -w . && ! touch /etc/x 2>/dev/null
"""


def test_the_agents_environment_has_its_programs_for_an_ordinary_user(pyro: Pyro) -> None:
    pyro.pull_environment("debian:12-agent")
    known = pyro.inspect_environment("debian:12-agent")
    assert known["programs"]["Claude Code"] == CLAUDE_CODE.version
    become = ["setpriv", f"--reuid={AGENT.name}", f"--regid={AGENT.name}", "--init-groups", "--"]
    run = pyro.run_in_vm(
        "debian:12-agent",
        command=[*become, "env", "HOME=/home/agent", "sh", "-euc", f"cd; {_LOOK}"],
        mem_mib=2048,
        timeout_seconds=120,
    )
    assert run["exit_code"] == 0, run["stderr"]
    lines = run["stdout"].splitlines()
    assert lines[0].startswith(f"{CLAUDE_CODE.version} ")
    assert lines[1:4] == [f"v{NODE.version}", NPM.version, NPM.version]
    assert lines[-2:] == [str(AGENT.uid), "/home/agent"]
