"""A person of a real space server, with a home and a project of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moot.client.auth import store_credential
from moot.client.space_client import SpaceClient
from moot.config import Actors, load_actors
from moot.scaffold import InitOptions, InitResult, init
from moot.server.admin.accounts import NewUser
from moot.server.admin.operator import Operator
from moot.server.settings import Settings
from tests.moot.server.running import Server


@dataclass
class Person:
    """A person who is logged in. `said` has what `moot init` has printed."""

    server: Server
    user: NewUser
    home: Path
    project: Path
    said: list[str]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def init(self, **options: Any) -> InitResult:
        """Run `moot init` in the project."""
        self.said.clear()
        found = init(InitOptions(say=self.said.append, **options), self.project)
        assert found is not None
        return found

    def client(self) -> SpaceClient:
        return SpaceClient(self.api_url, self.user.token)

    def agents(self) -> dict[str, Any]:
        """Return the agents that the server has, by name."""
        with self.client() as space:
            found = space.my_agents()
        named = {one.display_name: one for one in found}
        assert len(named) == len(found), "no agent was made twice"
        return named

    def actors(self) -> Actors:
        """Return the agents that the project has; the key of each is valid."""
        found = load_actors(self.project)
        assert found is not None
        for one in found.actors.values():
            with SpaceClient(found.api_url, one.api_key) as space:
                assert space.me().actor_id == one.actor_id
        return found


def new_person(server: Server, home: Path, project: Path, template: str = "loop-4") -> Person:
    """Make a person, and log in; the variable HOME must name `home`."""
    user = Operator(Settings(data_folder=server.data)).add_user("Ada", tenant_id=None, template=template)
    person = Person(server, user, home, project, [])
    store_credential(user.token, person.api_url, user.actor_id)
    return person


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked process; return its exit code, -9 when it was killed."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
                work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


_WATCHED = {"adoption.json", "actors.json", "moot.toml", ".gitignore", "CLAUDE.md", "init-report.md"}


def kill_at_rename(number: int) -> None:
    """Let this process be killed just before it puts this file in its place, counted from 1; see `_WATCHED`."""
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and os.path.basename(arguments[1]) in _WATCHED:
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
