"""The rules for HTTP messages between a guest and a site: which parts may pass, and where secrets are inserted."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

import h11

from pyro_mcp.network.http.refusal import ADVICE
from pyro_mcp.network.policy.host_secret import HostSecret
from pyro_mcp.network.policy.request_rule import RequestRule, is_override, request_refusal
from pyro_mcp.redaction import Mask

Headers = list[tuple[bytes, bytes]]

# Fields about one connection only (RFC 9110, 7.6.1), or about message framing, which h11 writes itself. Without
# Accept-Encoding no response of a site with secrets is compressed, so that it can be searched for them.
_OWN = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
_UPGRADE = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
_SWITCHING_PROTOCOLS = 101
_COMPRESSING = {b"accept-encoding", b"sec-websocket-extensions"}
_LIVE = (b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"application/stream+json")
LARGEST_HEADER = 64 * 1024
# With these a site that echoes a request could return a secret in pieces, which are not found.
_PIECEWISE = {b"range", b"if-range"}


class RejectedRequest(Exception):
    """A request that is not passed on; `status` is the response's status, the message the reason.

    `advice` follows the reason in the response.
    """

    def __init__(self, status: int, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.status, self.advice = status, advice


def check(request: h11.Request, name: str, port: int) -> None:
    """Raise `RejectedRequest` unless the request is for the site `name`, and can be passed on."""
    headers = request.headers
    if request.http_version not in (b"1.0", b"1.1"):
        raise RejectedRequest(505, "only HTTP/1.1 is supported")
    if sum(len(key) + len(value) for key, value in headers) + len(request.target) > LARGEST_HEADER:
        raise RejectedRequest(431, f"the request's header is larger than {LARGEST_HEADER // 1024} KiB")
    hosts = [value for key, value in headers if key == b"host"]
    accepted = {name.encode("ascii"), f"{name}:{port}".encode("ascii")}
    if len(hosts) != 1 or hosts[0].lower() not in accepted:
        raise RejectedRequest(421, f"this connection is for {name}, but the request's Host field is not")
    if request.method == b"CONNECT" or not (request.target.startswith(b"/") or request.target == b"*"):
        raise RejectedRequest(400, "a request for a proxy is not supported")
    keys = [key for key, _ in headers]
    if b"transfer-encoding" in keys and b"content-length" in keys:
        raise RejectedRequest(400, "the request has two lengths")
    if _asks_for_websocket(request) and not _is_websocket(request):
        raise RejectedRequest(501, "a WebSocket begins with a GET of version 13 that has one key and no content")


def _asks_for_websocket(request: h11.Request) -> bool:
    """Return whether a request asks for a WebSocket; any other upgrade is optional for a site, and not passed on."""
    return any(key == b"upgrade" and b"websocket" in value.lower() for key, value in request.headers)


def _is_websocket(request: h11.Request) -> bool:
    """Return whether a request begins a WebSocket (RFC 6455, 4.1), and can become nothing else."""
    fields: dict[bytes, list[bytes]] = {}
    for key, value in request.headers:
        fields.setdefault(key, []).append(value.lower())
    connection = [one.strip() for value in fields.get(b"connection", []) for one in value.split(b",")]
    return (
        (request.method, request.http_version) == (b"GET", b"1.1")
        and fields.get(b"upgrade") == [b"websocket"]
        and b"upgrade" in connection
        and fields.get(b"sec-websocket-version") == [b"13"]
        and len(fields.get(b"sec-websocket-key", [])) == 1
        and not fields.keys() & {b"content-length", b"transfer-encoding"}
    )


def check_rules(request: h11.Request, name: str, rules: Sequence[RequestRule]) -> None:
    """Raise `RejectedRequest` unless a rule allows the request; without rules every request is allowed."""
    if not rules:
        return
    method = request.method.decode("ascii")
    reason = request_refusal(rules, method, request.target)
    if not reason and any(is_override(key) for key, _ in request.headers):
        reason = "the request's header may change its method or path"
    if reason:
        raise RejectedRequest(403, reason, f" at {name}. {ADVICE}")


def to_server(request: h11.Request, secrets: Sequence[HostSecret], *, readable: bool = False) -> h11.Request:
    """Return the request for the site, with the secrets in their header fields; with secrets, it has no range.

    With `readable`, or secrets, it asks for a response that is not compressed.
    """
    passed = _passed(request.headers.raw_items())
    if _asks_for_websocket(request):
        passed += _UPGRADE
    if not secrets and not readable:
        return h11.Request(method=request.method, target=request.target, headers=passed)
    passed = [(key, value) for key, value in passed if key.lower() not in _COMPRESSING]
    headers, target = with_secrets(passed, secrets), with_query(request.target, secrets)
    if headers != passed or target != request.target:
        headers = [(key, value) for key, value in headers if key.lower() not in _PIECEWISE]
    headers.append((b"Accept-Encoding", b"identity"))
    return h11.Request(method=request.method, target=target, headers=headers)


def secrets_used(request: h11.Request, secrets: Sequence[HostSecret]) -> list[str]:
    """Return the names of those `secrets` that `to_server` puts into the request."""
    headers = request.headers.raw_items()
    return [
        one.name
        for one in secrets
        if with_secrets(headers, [one]) != headers or with_query(request.target, [one]) != request.target
    ]


def to_guest(response: h11.Response | h11.InformationalResponse, mask: Mask, *, decompressed: bool = False) -> Headers:
    """Return the header of a response for the guest; `decompressed` if its content is no longer compressed."""
    chunked = decompressed or any(key == b"transfer-encoding" for key, _ in response.headers)
    dropped = ({b"content-length"} if chunked else set()) | ({b"content-encoding"} if decompressed else set())
    headers = masked(_passed(response.headers.raw_items()), mask)
    passed = [(key, value) for key, value in headers if key.lower() not in dropped]
    if response.status_code == _SWITCHING_PROTOCOLS:
        return [*passed, *_UPGRADE]
    return [*passed, (b"Connection", b"close")] if _is_last(response) else passed


def masked(headers: Iterable[tuple[bytes, bytes]], mask: Mask) -> Headers:
    """Return header or trailer fields without secrets; a field whose name holds one is left out."""
    return [(key, mask.bytes(value)) for key, value in headers if not mask.spans(key)]


def _is_last(response: h11.Response | h11.InformationalResponse) -> bool:
    """Return whether the site closes the connection after it."""
    values = [value.lower() for key, value in response.headers if key == b"connection"]
    return any(b"close" in [one.strip() for one in value.split(b",")] for value in values)


def is_live(response: h11.Response) -> bool:
    """Return whether the content of a response is a stream of events, each of which the guest waits for."""
    return any(key == b"content-type" and value.lower().startswith(_LIVE) for key, value in response.headers)


def content_coding(response: h11.Response) -> str:
    """Return the content coding of a response, "" for none."""
    values = [value.strip().lower() for key, value in response.headers if key == b"content-encoding"]
    codings = [one.strip() for value in values for one in value.split(b",")]
    return ", ".join(one.decode("latin-1") for one in codings if one not in (b"", b"identity"))


def with_secrets(headers: Iterable[tuple[bytes, bytes]], secrets: Sequence[HostSecret]) -> Headers:
    """Return `headers` with secrets in place of their placeholders, each only in its own field."""
    return [
        (key, _with_values(value, [one for one in secrets if one.header.lower().encode("ascii") == key.lower()]))
        for key, value in headers
    ]


def with_query(target: bytes, secrets: Sequence[HostSecret]) -> bytes:
    """Return a request's target with secrets in place of their placeholders, each only in its own parameter."""
    path, mark, query = target.partition(b"?")
    wanted = {one.query.encode("ascii"): one for one in secrets if one.query is not None}
    if not wanted or not mark:
        return target
    return path + mark + b"&".join(_with_parameter(field, wanted) for field in query.split(b"&"))


def _with_parameter(field: bytes, wanted: Mapping[bytes, HostSecret]) -> bytes:
    name, equals, value = field.partition(b"=")
    one = wanted.get(unquote_to_bytes(name))
    if one is None or unquote_to_bytes(value) != one.placeholder.encode("ascii"):
        return field
    return name + equals + quote(one.value, safe="").encode("ascii")


def mask_of(secrets: Sequence[HostSecret]) -> Mask:
    """Return the mask that replaces values by placeholders in responses, cut or padded to the same length."""
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


def _with_values(value: bytes, secrets: Sequence[HostSecret]) -> bytes:
    """Return the value of a field with those `secrets` inserted whose field it is."""
    scheme, space, credentials = value.partition(b" ")
    if scheme.lower() == b"basic" and space:
        try:
            plain = base64.b64decode(credentials.strip() + b"=" * (-len(credentials.strip()) % 4), validate=True)
        except binascii.Error:
            plain = b""
        replaced = _with_password(_replaced(plain, secrets), secrets)
        if replaced != plain:
            return scheme + b" " + base64.b64encode(replaced)
    return _replaced(value, secrets)


def _with_password(login: bytes, secrets: Sequence[HostSecret]) -> bytes:
    """Return `USERNAME:PASSWORD` with the secret of that user name if the password is its placeholder."""
    for one in secrets:
        if one.basic is not None and login == f"{one.basic}:{one.placeholder}".encode("ascii"):
            return f"{one.basic}:{one.value}".encode("ascii")
    return login


def _replaced(text: bytes, secrets: Sequence[HostSecret]) -> bytes:
    for one in secrets:
        if one.in_header:
            text = text.replace(one.placeholder.encode("ascii"), one.value.encode("ascii"))
    return text
