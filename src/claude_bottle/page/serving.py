"""The server of the page, which also sends new requests to the webhooks, until a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from claude_bottle.audit.journal import person
from claude_bottle.guard.changes import requests_version
from claude_bottle.page.safeguards import Safeguards
from claude_bottle.page.site import Decider, Site
from claude_bottle.page.tokens import Tokens, tokens_path
from claude_bottle.page.webhooks import Sender, Webhook, message
from claude_bottle.results import RequestInfo
from pyro_mcp.errors import Conflict, InvalidRequest, PyroError

_CONNECTION_SECONDS = 30.0
_MOST_CONNECTIONS = 64
_LOOK_SECONDS = 1.0
_READ_SECONDS = 5.0  # deadlines pass, and guards die, without a change of the database
_SEND_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """Where the page listens, and under which URL a phone reaches it ("": the address itself)."""

    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    certificate: Path | None = None
    private_key: Path | None = None

    def check(self) -> None:
        """Raise `InvalidRequest` for options that cannot work, or would let others read the tokens."""
        if (self.certificate is None) != (self.private_key is None):
            raise InvalidRequest("TLS needs both a certificate and a private key", hint="give --tls-cert and --tls-key")
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError as error:
            raise InvalidRequest(f"{self.host!r} is not an IP address", hint="such as 127.0.0.1:8043") from error
        if not address.is_loopback and self.certificate is None:
            raise InvalidRequest(
                f"others could read the tokens on their way to {self.host}",
                hint="give --tls-cert and --tls-key; or listen on 127.0.0.1 behind a proxy with TLS, or a tunnel",
            )
        if self.url:
            parts = urlsplit(self.url)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or "@" in parts.netloc
                or parts.path.strip("/")
            ):
                raise InvalidRequest(f"{self.url!r} is not a base URL", hint="such as https://phone.example.org")
            if parts.query or parts.fragment or not self.url.isascii():
                raise InvalidRequest(f"{self.url!r} is not a base URL", hint="such as https://phone.example.org")


class Page:
    """The page, which listens until `close`. `say` gets lines about webhooks that fail."""

    def __init__(
        self, decider: Decider, options: PageOptions, hooks: Sequence[Webhook], say: Callable[[str], None]
    ) -> None:
        options.check()
        self._decider, self._options, self._say = decider, options, say
        self._stopped = threading.Event()
        self._sender = Sender(hooks, say, self._stopped) if hooks else None
        self._told: set[str] = set()
        self._key = secrets.token_urlsafe(32)
        with ExitStack() as owned:
            self._tokens = owned.enter_context(closing(Tokens(tokens_path())))
            self._listener = owned.enter_context(closing(_listen(options.host, options.port)))
            self._server = self._uvicorn()
            self._owned = owned.pop_all()

    @property
    def own_url(self) -> str:
        """The address that the page listens at."""
        host, port = self._listener.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return f"{'https' if self._options.certificate else 'http'}://{name}:{port}"

    @property
    def base_url(self) -> str:
        """The address under which a phone reaches the page."""
        if not self._options.url:
            return self.own_url
        parts = urlsplit(self._options.url)
        usual = {"http": ":80", "https": ":443"}[parts.scheme]  # browsers leave it out
        return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"

    @property
    def list_url(self) -> str:
        """The address of the list of requests, which holds the key."""
        return f"{self.base_url}/list/{self._key}"

    def serve(self) -> None:
        """Answer requests, and send messages, until a signal or `stop`."""
        teller = threading.Thread(target=self._tell, name="webhooks")
        teller.start()
        try:
            anyio.run(self._server.serve, [self._listener])
        finally:
            self._stopped.set()
            teller.join()

    def stop(self) -> None:
        """End `serve` from another thread."""
        self._stopped.set()
        self._server.should_exit = True

    def close(self) -> None:
        """Free the address and the database of tokens."""
        self._owned.close()

    def _uvicorn(self) -> uvicorn.Server:
        site = Site(self._decider, self._tokens, key=self._key, who=f"{person()} by the page")
        origins = {self.base_url, self.own_url, self.own_url.replace("//127.0.0.1:", "//localhost:")}
        config = uvicorn.Config(
            Safeguards(site.app, origins, site.knows),
            http=_Bounded,
            ws="none",
            lifespan="off",
            log_level="error",  # a warning is for every peer to cause, as often as it likes
            access_log=False,  # it would hold the tokens
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=16 * 1024,
        )
        if self._options.certificate and self._options.private_key:
            config.load()
            config.ssl = _tls(self._options.certificate, self._options.private_key)
        return uvicorn.Server(config)

    def _tell(self) -> None:
        """Send one message about each new request, until the page stops."""
        problem, seen, read_at = "", None, float("-inf")
        while self._sender is not None and not self._stopped.wait(_LOOK_SECONDS):
            try:
                version = requests_version()
                if version == seen and time.monotonic() - read_at < _READ_SECONDS:
                    continue
                pending = self._decider.pending()["requests"]
                self._told &= {one["reference"] for one in pending}
                for one in pending:
                    if one["reference"] not in self._told and not self._stopped.is_set():
                        self._told.add(one["reference"])
                        self._send(self._sender, one)
                problem, seen, read_at = "", version, time.monotonic()
            except (PyroError, OSError) as error:
                reason = error.message if isinstance(error, PyroError) else str(error)
                if problem != reason:
                    self._say(f"the requests cannot be read: {reason}")
                problem = reason

    def _send(self, sender: Sender, one: RequestInfo) -> None:
        links = {
            "Approve": f"{self.base_url}/t/{self._tokens.issue(one, 'approve')}",
            "Deny": f"{self.base_url}/t/{self._tokens.issue(one, 'deny')}",
        }
        text, headers = message(one, links)
        sender.send(text, headers, deadline=min(one["expires_at"], time.time() + _SEND_SECONDS))


class _Bounded(H11Protocol):
    """A connection that ends after half a minute in any case; every answer takes less."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(_CONNECTION_SECONDS, transport.abort)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_MOST_CONNECTIONS)
    except (OSError, OverflowError) as error:
        listener.close()
        raise Conflict(
            f"cannot listen on {host}:{port}: {error}", hint="choose another address with --listen"
        ) from error
    return listener


def _tls(certificate: Path, private_key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"{certificate} and {private_key} cannot be used for TLS: {error}") from error
    return context
