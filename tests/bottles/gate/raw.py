"""Requests that no git sends: pushes with a pack of the test's own, and raw HTTP."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence

from claude_bottle.gate.pkt_line import FLUSH, packet
from tests.bottles.gate.world import World

CAPABILITIES = "report-status side-band-64k"


def commands(updates: Sequence[tuple[str, str, str]], capabilities: str = CAPABILITIES) -> bytes:
    """Return the commands of a push: old, new, ref."""
    lines = [f"{old} {new} {ref}" for old, new, ref in updates]
    lines[0] += f"\0{capabilities}"
    return b"".join(packet(line.encode()) for line in lines) + FLUSH


def pack(world: World, ids: Sequence[str]) -> bytes:
    """Return a pack of exactly these objects of the clone."""
    return world.git("pack-objects", "--stdout", "-q", stdin="".join(f"{one}\n" for one in ids).encode()).stdout


def objects_of(world: World, new: str, *, without: str) -> list[str]:
    """Return what a push of `new` has to bring."""
    return [line.split(" ")[0] for line in world.out("rev-list", "--objects", new, f"^{without}").splitlines()]


def post(
    url: str, body: bytes, *, service: str = "git-receive-pack", headers: Mapping[str, str] | None = None
) -> bytes:
    """Post to a service of a repository; return the status and the answer."""
    sent = {"Content-Type": f"application/x-{service}-request", **(headers or {})}
    request = urllib.request.Request(f"{url}/{service}", body, sent)  # noqa: S310 - a port of this host
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        return f"{error.code} ".encode() + error.read()


def ask(url: str, method: str, target: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Send a request with exactly this target; return the status and the body."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
