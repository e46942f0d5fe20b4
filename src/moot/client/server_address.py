"""The address of a space server and a key for it: how HTTP and WebSocket connections to it are made.

A proxy of the environment is used only for another host than this one. `SSL_CERT_FILE` names the certificates that are
trusted, for https and wss only.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from pyro_mcp.errors import InvalidRequest

CERTIFICATES_VARIABLE = "SSL_CERT_FILE"
DEFAULT_API_URL = "http://127.0.0.1:8000"
"""Where `moot serve` listens. `localhost` may also be ::1, where another user's program could wait for a key."""
_SCHEMES = {"http": "ws", "https": "wss"}


@dataclass(frozen=True)
class ServerAddress:
    """The address of a space server, with the key of a caller. Raises `InvalidRequest` for another text."""

    api_url: str
    key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        parts = self._parts
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise InvalidRequest(
                f"{self.api_url!r} is not the address of a space server",
                hint="give one that begins with http:// or https://, such as http://127.0.0.1:8000",
            )
        if parts.username or parts.query or parts.fragment:
            raise InvalidRequest(
                "the address of a space server has no user, query or fragment", hint="give only scheme, host and port"
            )
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise InvalidRequest("the key has characters that no key has", hint="log in again, or rotate the key")

    @property
    def base_url(self) -> str:
        """Return the address without a slash at its end."""
        return self.api_url.strip().rstrip("/")

    def live_url(self, space_id: str, since: int | None) -> str:
        """Return the address of the WebSocket of a space, without the key, which goes into a header."""
        scheme, rest = self.base_url.split("://", 1)
        query = "" if since is None else f"?{urlencode({'since': since})}"
        return f"{_SCHEMES[scheme.lower()]}://{rest}/api/spaces/{quote(space_id, safe='')}/ws{query}"

    def headers(self) -> dict[str, str]:
        """Return the headers that show the key."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def is_loopback(self) -> bool:
        """Return whether the server is on this host."""
        host = self._parts.hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @cached_property
    def tls(self) -> ssl.SSLContext | None:
        """Return what verifies the server's certificate; None without TLS. Raises `InvalidRequest` for no such file."""
        if self._parts.scheme != "https":
            return None
        file = os.environ.get(CERTIFICATES_VARIABLE) or None
        try:
            return ssl.create_default_context(cafile=file)
        except OSError as error:
            raise InvalidRequest(
                f"{CERTIFICATES_VARIABLE} names {file}, which has no certificates: {error}",
                hint=f"unset {CERTIFICATES_VARIABLE}, or let it name a file in PEM format",
            ) from error

    @cached_property
    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.api_url.strip())
            _ = parts.port
        except ValueError as error:
            raise InvalidRequest(f"{self.api_url!r} is not an address: {error}") from error
        return parts
