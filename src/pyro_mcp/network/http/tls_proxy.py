"""The HTTP proxy of a gateway: a guest's HTTPS to some sites ends here, and a second connection goes to the site.

These sites are those of secrets, those with rules for requests, and those that lead to a port of this host.

The guest knows only placeholders. In a request to the secret's own site, the proxy replaces the placeholder by the
secret, in the secret's header field only; in the response it replaces the secret by as many other bytes. It changes
neither the path nor the content of a request, so a site that stores or shows these cannot reveal a secret.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - ssl needs it for every name, and later this process cannot read its files
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyro_mcp.network.channel.policy_client import Denied
from pyro_mcp.network.http import message_rules
from pyro_mcp.network.http.http_proxy import HttpProxy, Report, Site
from pyro_mcp.network.http.message_rules import RejectedRequest
from pyro_mcp.network.http.metered import Meter
from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.network.http.relay import reset
from pyro_mcp.network.http.tls_socket import TlsSocket, handshake
from pyro_mcp.network.metering.values import ModelSupervisor
from pyro_mcp.network.policy.host_secret import HostSecret
from pyro_mcp.network.policy.rules import Rules
from pyro_mcp.redaction import Mask

Dial = Callable[[], socket.socket]

_HANDSHAKE_SECONDS = 15.0
_FIRST_BYTE_SECONDS = 15.0
_TLS_HANDSHAKE = b"\x16"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; all of TLS 1.3 are as good
_NO_RULES = Rules()
_NOTHING = Mask({})


def server(
    secrets: Sequence[Mapping[str, str]],
    authority: Mapping[str, Any] | None,
    rules: Rules = _NO_RULES,
    supervisor: ModelSupervisor | None = None,
) -> TLSProxy:
    """Return the proxy for these secrets (fields of `HostSecret`), `Authority.to_json` and rules.

    It reads all files it needs now: later this process may have no access.
    """
    bound = [HostSecret(**one) for one in secrets]
    identities, roots = (authority["identities"], authority["roots"]) if authority else ({}, None)
    return TLSProxy(bound, identities, roots, rules, supervisor)


def _no_report(*_: object) -> str:
    """Ignore the report of a request."""
    return ""


class TLSProxy:
    """A proxy for connections to the sites of `secrets`, and to those whose requests or upstream `rules` set.

    `identities` are our keys and certificates for them, PEM; `roots` is the file with the authorities that may have
    signed the certificates of the sites themselves, None where no site is reached by TLS. `supervisor` decides
    about the requests to sites with a meter.
    """

    def __init__(
        self,
        secrets: Sequence[HostSecret],
        identities: Mapping[str, str],
        roots: str | None,
        rules: Rules = _NO_RULES,
        supervisor: ModelSupervisor | None = None,
    ) -> None:
        self._secrets, self._rules, self._supervisor = secrets, rules, supervisor
        self._mask = message_rules.mask_of(secrets)
        self._mask.bytes(b"-" * self._mask.longest)  # imports the modules that are imported on first use
        self._server_contexts = {host: _server_context(host, identity) for host, identity in identities.items()}
        # Without roots this context trusts nobody.
        context = ssl.create_default_context(cafile=roots) if roots else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client_context = _strict(context)
        self._client_context.set_alpn_protocols(["http/1.1"])

    def set_rules(self, rules: Rules) -> None:
        """Serve by other rules the connections that begin from now on."""
        self._rules = rules

    def serve(self, guest: socket.socket, name: str, port: int, dial: Dial, report: Report = _no_report) -> None:
        """Serve one connection to the site `name` until it ends, then close `guest`.

        `dial` returns a socket connected to the site, and raises `Denied` or `OSError` when it cannot. `report` is
        called for each request.
        """
        try:
            encrypted = _is_tls(guest, port)
            sock = self._accept(guest, name) if encrypted else PlainSocket(guest)
        except OSError:
            reset(guest)
            return
        rules = self._rules
        to_upstream = rules.upstream(name, port) is not None
        bound = [one for one in self._secrets if one.host == name] if encrypted or to_upstream else []
        encrypted = encrypted and not to_upstream
        api = rules.meter(name, port)
        meter = None if api is None else Meter(api, self._supervisor)
        mask = self._mask if bound else _NOTHING
        site = Site(name, port, bound, mask, rules.request_rules(name, port), report, meter)
        try:
            HttpProxy(sock, site, lambda: self._connect(name, dial, encrypted=encrypted)).run()
        except OSError:  # no close_notify: the response is incomplete
            sock.abort()
        else:
            sock.close(linger=True)

    def _accept(self, guest: socket.socket, name: str) -> TlsSocket:
        """Return the guest's TLS connection to the site `name`; raises `OSError`."""
        context = self._server_contexts.get(name)
        if context is None:
            raise OSError("there is no certificate for this name")
        wrapped = context.wrap_socket(guest, server_side=True, do_handshake_on_connect=False)
        return handshake(wrapped, _HANDSHAKE_SECONDS)

    def _connect(self, name: str, dial: Dial, *, encrypted: bool) -> PlainSocket:
        """Return a connection to the site; raises `RejectedRequest` when there is none."""
        try:
            raw = dial()
        except (Denied, OSError) as error:
            raise RejectedRequest(502, f"there is no connection to {name}: {error}") from error
        if not encrypted:
            return PlainSocket(raw)
        try:
            wrapped = self._client_context.wrap_socket(
                raw, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
            return handshake(wrapped, _HANDSHAKE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            raise RejectedRequest(502, f"the certificate of {name} is not trusted: {error.verify_message}") from error
        except OSError as error:
            raise RejectedRequest(502, f"the TLS handshake with {name} failed: {error.strerror or error}") from error


def _is_tls(guest: socket.socket, port: int) -> bool:
    """Return whether the guest speaks TLS: by the port if it is 80 or 443, else by the first byte. Raises `OSError`."""
    if port in (80, 443):
        return port == 443
    guest.settimeout(_FIRST_BYTE_SECONDS)
    return guest.recv(1, socket.MSG_PEEK) == _TLS_HANDSHAKE


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """Make `context` report an end without a close_notify, and refuse renegotiation; return it.

    Python before 3.11.4 has OpenSSL report such an end as a regular one.
    """
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _server_context(host: str, identity: str) -> ssl.SSLContext:
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.set_alpn_protocols(["http/1.1"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    file = os.memfd_create("identity", os.MFD_CLOEXEC)  # ssl reads files only
    try:
        os.write(file, identity.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)

    def check_server_name(_: ssl.SSLObject, wanted: str | None, __: ssl.SSLContext) -> int | None:
        same = wanted is not None and wanted.lower() == host
        return None if same else int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)

    context.sni_callback = check_server_name
    return context
