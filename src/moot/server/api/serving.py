"""One server process, from its sockets to its end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

# uvicorn looks for this package by itself, and serves no WebSocket without it.
import websockets  # noqa: F401
from sqlalchemy import text

from moot.server.admin import first_start
from moot.server.admin.backups import LOCK_FILE
from moot.server.api.app import create_app
from moot.server.api.state import ServerState
from moot.server.api.stuck import Stuck
from moot.server.database.database import Database
from moot.server.database.listening import listening
from moot.server.delivery import connections
from moot.server.settings import DATABASE_FILE, Settings
from pyro_mcp.errors import Conflict, HostNotReady, InvalidRequest
from pyro_mcp.host.files import locked, private_directory

_log = logging.getLogger("moot.server")
_UNENCRYPTED = "keys are sent unencrypted to %s: give --tls-cert and --tls-key, or let only a proxy with TLS connect"
_BACKLOG = 1024
_OPEN_FILES = 16_384
_SECONDS_TO_LEAVE = 5
SOCKET_OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": 1 << 20,
    "ws_per_message_deflate": False,
}
"""What uvicorn is told about WebSockets."""


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `say` gets what an operator should read.

    Raises `Busy` when another server uses the same SQLite database, and `Conflict` when the port is taken.
    """
    _allow_many_connections()
    _require_tls_files(settings)
    with ExitStack() as stack:
        database = stack.enter_context(opened(settings))
        listener = stack.enter_context(_bound(settings))
        settings = replace(settings, port=listener.getsockname()[1])
        if settings.is_for_others and settings.tls_certificate is None:
            _log.warning(_UNENCRYPTED, settings.host)
        user = database.write(first_start.first_user)
        if user is not None:
            say(first_start.welcome(user, settings.address))
        state = ServerState(database, settings.limits)
        if database.is_postgresql:
            stack.enter_context(listening(settings.database_url, state.feeds.hear))
        config = uvicorn.Config(
            create_app(state),
            **SOCKET_OPTIONS,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=_SECONDS_TO_LEAVE,
            timeout_keep_alive=75,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
        asyncio.run(_Server(config, state, lambda: say(f"serving {settings.address}")).serve([listener]))


def _allow_many_connections() -> None:
    """Raise the limit of open files, which is often 1,024, as far as this process may."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if least < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _require_tls_files(settings: Settings) -> None:
    """Raise `InvalidRequest` when the files for TLS cannot be used, before anything is made."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise InvalidRequest("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key")
    for file in (certificate, key):
        try:
            file.read_bytes()
        except OSError as error:
            raise InvalidRequest(f"{file} cannot be read: {error.strerror}") from error
    try:
        # The empty password fails for an encrypted key, for which OpenSSL would ask at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        raise InvalidRequest(
            f"{certificate} and {key} are not a certificate and its key: {error.reason or error}",
            hint="give both in PEM, the key without a password",
        ) from error


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Yield the database of a server process, with the newest schema; only one process can open a SQLite database."""
    with ExitStack() as stack:
        if not settings.database_url:
            private_directory(settings.data_folder)
            lock = settings.data_folder / LOCK_FILE
            stack.enter_context(locked(lock, deadline_seconds=0, what=f"the database in {settings.data_folder}"))
            _make_private(settings.data_folder / DATABASE_FILE)
        database = Database(settings.database, acknowledge_seconds=settings.limits.acknowledge_seconds)
        stack.callback(database.close)
        _require_utf8(database)
        database.upgrade()
        if not database.is_postgresql:
            database.write(connections.forget_all)
        yield database


def _make_private(database: Path) -> None:
    """Make the file of a database readable for this user alone, before SQLite makes it and others beside it."""
    database.touch(mode=0o600)
    if database.stat().st_mode & 0o077:
        database.chmod(0o600)


def _require_utf8(database: Database) -> None:
    if database.is_postgresql:
        encoding = database.read(lambda tx: tx.execute(text("SHOW server_encoding")).scalar_one())
        if encoding != "UTF8":
            raise InvalidRequest(
                f"the encoding of the database is {encoding}, not UTF8",
                hint="make it with: createdb --encoding=UTF8 --template=template0 NAME",
            )


@contextmanager
def _bound(settings: Settings) -> Iterator[socket.socket]:
    """Yield a listening socket."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except socket.gaierror as error:
            raise InvalidRequest(f"{settings.host!r} is not an address of this host: {error.strerror}") from error
        except OSError as error:
            raise Conflict(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
                hint="choose another one with --port",
            ) from error
        except OverflowError as error:
            raise InvalidRequest(f"{settings.port} is not a port") from error
        listener.listen(_BACKLOG)
        yield listener


class _Server(uvicorn.Server):
    """The server, which at its end closes the live subscriptions with a reason, so that clients connect again."""

    def __init__(self, config: uvicorn.Config, state: ServerState, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._state = state
        self._ready = ready
        self._stuck = Stuck()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            raise HostNotReady("the server could not start", hint="see its log")
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Do what uvicorn does ten times a second, and end stuck connections each second."""
        if counter % 10 == 0:
            self._state.metrics.stuck += self._stuck.end(list(self.server_state.connections))
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """End gracefully at the first signal, and at once at a second SIGINT; the exit code is 0."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.feeds.stop()
        await asyncio.sleep(0)
        await super().shutdown(sockets)
