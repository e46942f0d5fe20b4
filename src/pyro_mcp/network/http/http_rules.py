"""What of an HTTP message passes between a machine and a host with secrets, and where a secret stands for its
placeholder."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence

import h11

from pyro_mcp.network.policy.rules import HostSecret
from pyro_mcp.redaction import Mask

Headers = list[tuple[bytes, bytes]]

# About one connection only (RFC 9110, 7.6.1), or about who takes a message apart and how: that is not copied but said
# anew. A compressed answer could not be looked through.
_OWN = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"accept-encoding"}
LARGEST_HEADER = 64 * 1024
# A host that shows a request would show the secret in pieces, which are not found.
_PIECEWISE = {b"range", b"if-range"}


class Improper(Exception):
    """A request that is not passed on; `status` is the answer to it, the message says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check(request: h11.Request, name: str, port: int) -> None:
    """Raise `Improper` unless the request is for the host `name`, and of a kind that can be passed on."""
    headers = request.headers
    if request.http_version not in (b"1.0", b"1.1"):
        raise Improper(505, "only HTTP/1.1 is spoken here")
    if sum(len(key) + len(value) for key, value in headers) + len(request.target) > LARGEST_HEADER:
        raise Improper(431, f"the request's header is larger than {LARGEST_HEADER // 1024} KiB")
    hosts = [value for key, value in headers if key == b"host"]
    accepted = {name.encode("ascii"), f"{name}:{port}".encode("ascii")}
    if len(hosts) != 1 or hosts[0].lower() not in accepted:
        raise Improper(421, f"this connection is for {name}, and the request's Host is not")
    if request.method == b"CONNECT" or not (request.target.startswith(b"/") or request.target == b"*"):
        raise Improper(400, "the request is one for a proxy")
    keys = [key for key, _ in headers]
    if b"transfer-encoding" in keys and b"content-length" in keys:
        raise Improper(400, "the request has two lengths")
    if any(key == b"upgrade" and b"websocket" in value.lower() for key, value in headers):
        raise Improper(501, f"no WebSockets go to {name}, because it has secrets")  # another upgrade is only an offer


def to_host(request: h11.Request, secrets: Sequence[HostSecret]) -> h11.Request:
    """The request as the host gets it: with the secrets in their header fields, and then with no range."""
    passed = _passed(request.headers.raw_items())
    headers = with_secrets(passed, secrets)
    if headers != passed:
        headers = [(key, value) for key, value in headers if key.lower() not in _PIECEWISE]
    return h11.Request(
        method=request.method, target=request.target, headers=[*headers, (b"Accept-Encoding", b"identity")]
    )


def to_guest(response: h11.Response | h11.InformationalResponse, mask: Mask, *, unpacked: bool = False) -> Headers:
    """The header of an answer as the machine gets it; `unpacked` if its content is, contrary to what the host says."""
    coded = unpacked or any(key == b"transfer-encoding" for key, _ in response.headers)
    dropped = ({b"content-length"} if coded else set()) | ({b"content-encoding"} if unpacked else set())
    headers = masked(_passed(response.headers.raw_items()), mask)
    passed = [(key, value) for key, value in headers if key.lower() not in dropped]
    return [*passed, (b"Connection", b"close")] if _is_last(response) else passed


def masked(headers: Iterable[tuple[bytes, bytes]], mask: Mask) -> Headers:
    """Header fields, or trailers, without secrets; a field whose name holds one is left out."""
    return [(key, mask.bytes(value)) for key, value in headers if not mask.spans(key)]


def _is_last(response: h11.Response | h11.InformationalResponse) -> bool:
    """Whether the host closes the connection after it."""
    said = [value.lower() for key, value in response.headers if key == b"connection"]
    return any(b"close" in [one.strip() for one in value.split(b",")] for value in said)


def coding_of(response: h11.Response) -> str:
    """How the content of an answer is compressed, "" for not at all."""
    said = [value.strip().lower() for key, value in response.headers if key == b"content-encoding"]
    codings = [one.strip() for value in said for one in value.split(b",")]
    return ", ".join(one.decode("latin-1") for one in codings if one not in (b"", b"identity"))


def with_secrets(headers: Iterable[tuple[bytes, bytes]], secrets: Sequence[HostSecret]) -> Headers:
    """`headers` with values for placeholders, each only in the field that its secret is for."""
    return [
        (key, _swapped(value, [one for one in secrets if one.header.lower().encode("ascii") == key.lower()]))
        for key, value in headers
    ]


def mask_of(secrets: Sequence[HostSecret]) -> Mask:
    """What puts placeholders for values into answers, or as much of them as keeps every length as it is."""
    placeholders = {one.name: one.placeholder.encode("ascii") for one in secrets}
    values = {one.name: one.value.encode("ascii") for one in secrets}

    def instead(name: str, found: bytes) -> bytes:
        shown = placeholders[name] if found == values[name] else b""
        return shown[: len(found)].ljust(len(found), b"x")

    return Mask({one.name: one.value for one in secrets}, instead, ignore_case=True)


def _passed(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    listed = list(headers)
    named = {one.strip().lower() for key, value in listed if key.lower() == b"connection" for one in value.split(b",")}
    kept = {b"host", b"content-length", b"transfer-encoding", b"authorization"}
    dropped = _OWN | (named - kept)
    return [(key, value) for key, value in listed if key.lower() not in dropped]


def _swapped(value: bytes, secrets: Sequence[HostSecret]) -> bytes:
    scheme, space, credentials = value.partition(b" ")
    if scheme.lower() == b"basic" and space:
        try:
            plain = base64.b64decode(credentials.strip() + b"=" * (-len(credentials.strip()) % 4), validate=True)
        except binascii.Error:
            plain = b""
        swapped = _replaced(plain, secrets)
        if swapped != plain:
            return scheme + b" " + base64.b64encode(swapped)
    return _replaced(value, secrets)


def _replaced(text: bytes, secrets: Sequence[HostSecret]) -> bytes:
    for one in secrets:
        text = text.replace(one.placeholder.encode("ascii"), one.value.encode("ascii"))
    return text
