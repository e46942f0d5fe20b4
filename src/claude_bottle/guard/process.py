"""The start of a bottle's guard in a launch, and the wait for its end."""

from __future__ import annotations

import os
import secrets
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from claude_bottle.guard.presence import SOCKET, present_guard
from claude_bottle.guard.settings import GuardSettings, guard_dir
from pyro_mcp.errors import HostNotReady
from pyro_mcp.host.files import private_directory
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.process_identity import identify, kill
from pyro_mcp.network import listen_for_gateway

_STDERR = "stderr"
_END_SECONDS = 10.0
# What the guard's programs need besides the usual: its database and journal, docker, git's credentials.
_PASSED_ON = (
    *("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"),
    *("SSH_AUTH_SOCK", "GNUPGHOME", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY"),
)


def new_guard_name() -> str:
    """Return a unique name for the guard of one launch."""
    return secrets.token_hex(8)


@contextmanager
def guarding(settings: GuardSettings) -> Iterator[Path]:
    """Start the guard of a bottle; yields the socket for its gateway.

    If no gateway has connected when the block ends, or when this process dies, the guard ends. Otherwise it ends with
    its gateway. Raises `HostNotReady`.
    """
    folder = private_directory(guard_dir(settings.slug))
    settings.write(folder)
    launch_over, launching = os.pipe()
    try:
        with listen_for_gateway(folder / SOCKET) as listener:
            _start(folder, listener.fileno(), launch_over)
        os.close(launch_over)
        launch_over = -1
        yield folder / SOCKET
    finally:
        for descriptor in (launch_over, launching):
            if descriptor >= 0:
                os.close(descriptor)


def end_guard(slug: str) -> None:
    """Wait for the end of a bottle's guard, whose gateway has ended; kill it if it does not end in time."""
    found = present_guard(guard_dir(slug))
    if found is None:
        return
    process = identify(found[1])
    if process is None:
        return
    try:
        watched = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([watched], [], [], _END_SECONDS)[0]:
            kill(process)
            select.select([watched], [], [], _END_SECONDS)
    finally:
        os.close(watched)


def _start(folder: Path, listener: int, launch_over: int) -> None:
    argv: Sequence[str] = [sys.executable, "-P", "-m", "claude_bottle.guard", str(folder), str(listener)]
    try:
        with open(folder / _STDERR, "wb") as errors:
            process = subprocess.Popen(
                argv,
                stdin=launch_over,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(listener,),
                env=child_environment({name: os.environ[name] for name in _PASSED_ON if name in os.environ}),
                start_new_session=True,
                cwd="/",
            )
    except OSError as error:
        raise HostNotReady(f"the guard of the bottle did not start: {error.strerror}", hint="try again") from error
    # It usually outlives this process. If it does not, this thread keeps it from staying a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
