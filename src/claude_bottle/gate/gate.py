"""The gate of one bottle: the connections of its guest, and the answer to each request."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from claude_bottle.errors import UpstreamFailed
from claude_bottle.gate.exchange import Exchange
from claude_bottle.gate.interface import PushApprovals, Record
from claude_bottle.gate.mirror import Mirror, require_protocol
from claude_bottle.gate.pkt_line import FLUSH, advertised_error, packet
from claude_bottle.gate.push import Pushes
from claude_bottle.gate.quarantine import PushLimits
from claude_bottle.gate.remotes import Remote
from claude_bottle.guard.front import Front
from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import private_directory
from pyro_mcp.visible import visible_line

FETCH, PUSH = "git-upload-pack", "git-receive-pack"
_MOST_REQUESTS = 16
_MOST_FETCH_REQUEST = 16 << 20
_TARGET = re.compile(
    r"/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})\.git/"
    r"(?P<what>info/refs\?service=(?P<service>git-upload-pack|git-receive-pack)|git-upload-pack|git-receive-pack)",
    re.ASCII,
)
# Deletions are offered so that git sends them, and prints why they are refused.
_PUSH_CAPABILITIES = "report-status delete-refs side-band-64k ofs-delta quiet object-format=sha1 agent=claude-bottle"
_TEXT = "text/plain; charset=utf-8"


class _Refused(Exception):
    """A request that is answered with a status and a text."""

    def __init__(self, status: int, text: str) -> None:
        self.status, self.text = status, text


class Gate:
    """The server of the declared remotes of one bottle, by git's smart HTTP protocol.

    `folder` is private to the gate, and is removed with the bottle. A push waits `wait_seconds` for a person's
    decision. If the gate fetched from an upstream less than `fresh_seconds` ago, a guest's fetch does not ask it again.
    """

    def __init__(
        self,
        folder: Path,
        remotes: Sequence[Remote],
        approvals: PushApprovals,
        record: Record,
        *,
        wait_seconds: float = 60.0,
        fresh_seconds: float = 1.0,
        limits: PushLimits | None = None,
    ) -> None:
        private_directory(folder)
        self._record = record
        self._mirrors = {one.name: Mirror(folder / one.name, one, fresh_seconds=fresh_seconds) for one in remotes}
        self._pushes = {
            name: Pushes(
                folder / name,
                mirror,
                remotes,
                approvals,
                record,
                limits=limits or PushLimits(),
                wait_seconds=wait_seconds,
            )
            for name, mirror in self._mirrors.items()
        }
        self._front = Front("claude_bottle.gate.http_front", folder / "http", self._serve, most_calls=_MOST_REQUESTS)

    def connect(self) -> socket.socket:
        """Return a new connection to the gate; raises `PyroError`."""
        return self._front.connect()

    def close(self) -> None:
        """End all connections."""
        self._front.close()

    def _serve(self, call: socket.socket) -> None:
        """Answer one request, which the front has read."""
        with Exchange.of(call) as exchange:
            self._handle(exchange)

    def _handle(self, exchange: Exchange) -> None:
        try:
            self._route(exchange)
        except _Refused as refused:
            self._record_refusal(exchange, refused.text)
            exchange.answer(refused.status, _TEXT, f"{refused.text}\n".encode())
        except PyroError as error:
            text = visible_line(" ".join(error.message.split()), 600)
            self._record_refusal(exchange, text)
            if exchange.answered:  # git sees an answer that breaks off
                raise OSError(text) from error
            exchange.answer(400, _TEXT, f"{text}\n".encode())

    def _route(self, exchange: Exchange) -> None:
        found = _TARGET.fullmatch(exchange.target)
        if not found:
            raise _Refused(
                404, "this is a git gate: it serves only NAME.git of each declared remote, by git's smart HTTP"
            )
        name, service = found["name"], found["service"] or found["what"]
        if (mirror := self._mirrors.get(name)) is None:
            known = ", ".join(sorted(self._mirrors))
            raise _Refused(404, f"there is no remote {name!r} in this bottle; it has: {known}")
        if exchange.method != ("GET" if found["service"] else "POST"):
            raise _Refused(405, "git's smart HTTP has no such request")
        if service == FETCH and not mirror.remote.fetch:
            raise _Refused(403, f"the manifest does not let this bottle fetch from {name}")
        if service == PUSH and not mirror.remote.push:
            raise _Refused(403, f"the manifest does not let this bottle push to {name}")
        if found["service"]:
            self._advertise(exchange, mirror, service)
        elif exchange.headers.get("content-type") != f"application/x-{service}-request":
            raise _Refused(415, "git's smart HTTP has no such content type")
        elif service == FETCH:
            self._fetch(exchange, mirror)
        else:
            self._pushes[name].receive(exchange)

    def _advertise(self, exchange: Exchange, mirror: Mirror, service: str) -> None:
        protocol = require_protocol(exchange.headers.get("git-protocol", ""))
        content_type = f"application/x-{service}-advertisement"
        try:
            mirror.refresh()
        except UpstreamFailed as error:
            text = visible_line(f"the upstream of {mirror.remote.name} failed: {error.message}", 600)
            self._record_refusal(exchange, text)
            exchange.answer(200, content_type, advertised_error(service, text))
            return
        if service == PUSH:
            body = packet(f"# service={service}\n".encode()) + FLUSH + _push_refs(mirror)
        else:
            body = mirror.advertise("upload-pack", protocol)
            if protocol != "version=2":
                body = packet(f"# service={service}\n".encode()) + FLUSH + body
        exchange.answer(200, content_type, body)

    def _fetch(self, exchange: Exchange, mirror: Mirror) -> None:
        protocol = require_protocol(exchange.headers.get("git-protocol", ""))
        with TemporaryFile(dir=mirror.repository.folder.parent, buffering=0) as request:
            for piece in exchange.body(most=_MOST_FETCH_REQUEST):
                request.write(piece)
            request.seek(0)
            exchange.start(200, "application/x-git-upload-pack-result")
            mirror.serve(request, protocol, exchange.write)
            exchange.end()

    def _record_refusal(self, exchange: Exchange, reason: str) -> None:
        target = visible_line(exchange.target, 200)
        self._record("refused", who="policy", rule="git.remotes", what={"request": target, "reason": reason})


def _push_refs(mirror: Mirror) -> bytes:
    """Return the refs of the upstream as git's receive-pack would list them."""
    refs = sorted(mirror.repository.refs().items()) or [("capabilities^{}", "0" * 40)]
    (first, id_), others = refs[0], refs[1:]
    lines = [f"{id_} {first}\0{_PUSH_CAPABILITIES}\n", *(f"{one} {name}\n" for name, one in others)]
    return b"".join(packet(line.encode(errors="surrogateescape")) for line in lines) + FLUSH
