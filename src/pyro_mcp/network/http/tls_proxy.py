"""HTTPS between a machine and a host that has secrets: it ends here, and begins again towards the host.

The machine knows only placeholders. In the header of a request to its very host, a secret takes the place of its
placeholder; wherever an answer holds the secret, the machine gets as many other bytes. Neither the address of a request
nor its content is changed: what a host stores or shows of them cannot bring a secret out.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - ssl wants it for every name, and later we may not be able to read our own files
import os
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyro_mcp.network.channel.broker import Denied
from pyro_mcp.network.http import http_rules
from pyro_mcp.network.http.http_proxy import Exchange
from pyro_mcp.network.http.http_rules import Improper
from pyro_mcp.network.http.relay import reset
from pyro_mcp.network.http.tls_socket import TlsLine, handshake
from pyro_mcp.network.policy.rules import HostSecret

Dial = Callable[[], socket.socket]

_HANDSHAKE_SECONDS = 15.0


def server(secrets: Sequence[Mapping[str, str]], authority: Mapping[str, Any]) -> Callable[..., None]:
    """`TLSProxy.serve` of these secrets (fields of `HostSecret`) and of `Authority.to_json`.

    All files it needs are read now: later we may have no right to.
    """
    bound = [HostSecret(**one) for one in secrets]
    return TLSProxy(bound, authority["identities"], authority["roots"]).serve


class TLSProxy:
    """Serves TLS connections to the hosts of `secrets`. `identities` are our keys and certificates for them, PEM;
    `roots` is the file with those whom we believe that a host is what it says."""

    def __init__(self, secrets: Sequence[HostSecret], identities: Mapping[str, str], roots: str) -> None:
        self._secrets = secrets
        self._mask = http_rules.mask_of(secrets)
        self._mask.bytes(b"-" * self._mask.longest)  # loads what is loaded late
        self._ours = {host: _server_context(host, identity) for host, identity in identities.items()}
        self._theirs = _strict(ssl.create_default_context(cafile=roots))
        self._theirs.set_alpn_protocols(["http/1.1"])

    def serve(self, guest: socket.socket, name: str, port: int, dial: Dial) -> None:
        """Serve one connection to the host `name` until it ends; closes `guest`.

        `dial` gives a socket connected to the host, and raises `Denied` or `OSError` when it cannot.
        """
        try:
            wrapped = self._ours[name].wrap_socket(guest, server_side=True, do_handshake_on_connect=False)
            line = handshake(wrapped, _HANDSHAKE_SECONDS)
        except OSError:
            reset(guest)
            return
        bound = [one for one in self._secrets if one.host == name]
        try:
            Exchange(line, (name, port), bound, self._mask, lambda: self._connected(name, dial)).run()
        except OSError:  # no goodbye: what has come is not all
            line.tear()
        else:
            line.close(linger=True)

    def _connected(self, name: str, dial: Dial) -> TlsLine:
        """A TLS connection to the host; raises `Improper` for whatever stops it."""
        try:
            raw = dial()
        except (Denied, OSError) as error:
            raise Improper(502, f"there is no connection to {name}: {error}") from error
        try:
            wrapped = self._theirs.wrap_socket(
                raw, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
            return handshake(wrapped, _HANDSHAKE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            raise Improper(502, f"the certificate of {name} is not to be trusted: {error.verify_message}") from error
        except OSError as error:
            raise Improper(502, f"{name} did not agree on TLS: {error.strerror or error}") from error


def _strict(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return `context`, which now reports an end without a close_notify, and agrees on keys and certificates once.

    Python before 3.11.4 asks OpenSSL to report such an end as a proper one.
    """
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


def _server_context(host: str, identity: str) -> ssl.SSLContext:
    context = _strict(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    context.set_alpn_protocols(["http/1.1"])
    file = os.memfd_create("identity", os.MFD_CLOEXEC)  # ssl reads from files only
    try:
        os.write(file, identity.encode("ascii"))
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)

    def only_ours(_: ssl.SSLObject, wanted: str | None, __: ssl.SSLContext) -> int | None:
        same = wanted is not None and wanted.lower() == host
        return None if same else int(ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)

    context.sni_callback = only_ours
    return context
