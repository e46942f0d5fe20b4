"""The TLS proxy: HTTPS of a guest to a site with secrets ends here, and a second TLS connection goes to the site.

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
from pyro_mcp.network.http.http_proxy import HttpProxy
from pyro_mcp.network.http.message_rules import RejectedRequest
from pyro_mcp.network.http.relay import reset
from pyro_mcp.network.http.tls_socket import TlsSocket, handshake
from pyro_mcp.network.policy.host_secret import HostSecret

Dial = Callable[[], socket.socket]

_HANDSHAKE_SECONDS = 15.0


def server(secrets: Sequence[Mapping[str, str]], authority: Mapping[str, Any]) -> Callable[..., None]:
    """Return `TLSProxy.serve` for these secrets (fields of `HostSecret`) and `Authority.to_json`.

    It reads all files it needs now: later this process may have no access.
    """
    bound = [HostSecret(**one) for one in secrets]
    return TLSProxy(bound, authority["identities"], authority["roots"]).serve


class TLSProxy:
    """A proxy for TLS connections to the sites of `secrets`.

    `identities` are our keys and certificates for them, PEM; `roots` is the file with the authorities that may have
    signed the certificates of the sites themselves.
    """

    def __init__(self, secrets: Sequence[HostSecret], identities: Mapping[str, str], roots: str) -> None:
        self._secrets = secrets
        self._mask = message_rules.mask_of(secrets)
        self._mask.bytes(b"-" * self._mask.longest)  # imports the modules that are imported on first use
        self._server_contexts = {host: _server_context(host, identity) for host, identity in identities.items()}
        self._client_context = _strict(ssl.create_default_context(cafile=roots))
        self._client_context.set_alpn_protocols(["http/1.1"])

    def serve(self, guest: socket.socket, name: str, port: int, dial: Dial) -> None:
        """Serve one connection to the site `name` until it ends, then close `guest`.

        `dial` returns a socket connected to the site, and raises `Denied` or `OSError` when it cannot.
        """
        try:
            wrapped = self._server_contexts[name].wrap_socket(guest, server_side=True, do_handshake_on_connect=False)
            sock = handshake(wrapped, _HANDSHAKE_SECONDS)
        except OSError:
            reset(guest)
            return
        bound = [one for one in self._secrets if one.host == name]
        try:
            HttpProxy(sock, (name, port), bound, self._mask, lambda: self._connect(name, dial)).run()
        except OSError:  # no close_notify: the response is incomplete
            sock.abort()
        else:
            sock.close(linger=True)

    def _connect(self, name: str, dial: Dial) -> TlsSocket:
        """Return a TLS connection to the site; raises `RejectedRequest` when there is none."""
        try:
            raw = dial()
        except (Denied, OSError) as error:
            raise RejectedRequest(502, f"there is no connection to {name}: {error}") from error
        try:
            wrapped = self._client_context.wrap_socket(
                raw, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
            return handshake(wrapped, _HANDSHAKE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            raise RejectedRequest(502, f"the certificate of {name} is not trusted: {error.verify_message}") from error
        except OSError as error:
            raise RejectedRequest(502, f"the TLS handshake with {name} failed: {error.strerror or error}") from error


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
