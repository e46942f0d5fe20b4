"""Events of a tmux session, from a client in control mode."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from pyro_mcp.host.process import child_environment

_CHUNK = 65536


class PaneEvents:
    """A watch on a session: a client in control mode (tmux(1)), which prints a line for each output of a pane."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._argv, self._environment = argv, environment
        self._client: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PaneEvents:
        self._client = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(self._environment),
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client = self._client
        if client is not None:
            with client:  # closes its pipes; it ends with its input
                if client.stdin is not None:
                    with suppress(BrokenPipeError):
                        client.stdin.close()
                try:
                    client.wait(5)
                except subprocess.TimeoutExpired:
                    client.kill()
            self._client = None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with an event."""
        if self._client is None or self._client.stdout is None:
            raise ValueError("the watch is not open")
        return self._client.stdout.fileno()

    def wait(self, seconds: float) -> bool:
        """Return True after an event, False after `seconds` without one or when the session has ended."""
        return self.ready(seconds) and self.take()

    def ready(self, seconds: float = 0) -> bool:
        """Return whether there is an event, or the session has ended, within `seconds`."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def take(self) -> bool:
        """Read the events that have come; return False when the session has ended."""
        return bool(os.read(self.fileno(), _CHUNK))
