"""`pyro mcp serve` over the engine that ships as a fake: `python fake_server.py [PROFILE [http]]`.

A command is answered by its last word: `wait` goes on until it is interrupted, `lines N` prints N lines.
"""

from __future__ import annotations

import select
import sys

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine
from pyro_mcp.engine.fake import outcome as ended
from pyro_mcp.engine.interface import Command, Outcome
from pyro_mcp.errors import Interrupted


def answer(command: Command) -> Outcome:
    words = str(command.argv[-1]).split()
    if words[0] == "wait":
        if command.on_stdout is not None:
            command.on_stdout(b"waiting\n")
        assert command.interrupt is not None
        tell("running")
        ready, _, _ = select.select([command.interrupt], [], [], 60)
        tell("interrupted" if ready else "forgotten")
        raise Interrupted("the command was interrupted, and killed")
    if words[0] == "lines":
        return ended(stdout=b"".join(b"line %d\n" % number for number in range(int(words[1]))))
    if words[0] == "break":
        raise ZeroDivisionError("a defect")
    return ended(exit_code=3, stdout=b"out\n", stderr=b"err\n")


def main(profile: str = "workspace-full", how: str = "stdio") -> int:
    server = Pyro(engine=FakeEngine(answer)).create_server(profile, no_project_source=True)
    if how == "stdio":
        return server.serve_stdio()
    server.serve_http(announce=announce)
    return 0


def announce(address: str, token: str | None) -> None:
    tell(f"{address} {token}")


def tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
