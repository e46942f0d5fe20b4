"""A process that pulls one environment, to be run beside others or killed: CACHE NAME [JOURNAL FIFO].

Prints each step of the progress as a line, at last the digest of the image. With a journal it uses the fake source;
when it has to wait for another puller, it opens the FIFO on which that one waits.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyro_mcp.environments import EnvironmentStore
from tests.environments.fake_source import FakeSource


def main(cache: str, name: str, journal: str = "", fifo: str = "") -> None:
    def progress(message: str, fraction: float | None = None) -> None:
        del fraction
        say(message)
        if fifo and message.startswith("waiting for another process"):
            Path(fifo).write_bytes(b"go")

    if journal:
        environments = EnvironmentStore(
            Path(cache), lambda name: FakeSource(name, Path(journal), rendezvous=Path(fifo) if fifo else None)
        )
    else:
        environments = EnvironmentStore(Path(cache))
    say(environments.pull(name, progress).digest)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
