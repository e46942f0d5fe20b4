"""The lab: a host with two cables to the canaries, in namespaces of this process's own, and guests on that host."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.leaks import world
from tests.leaks.guests import Guests

_ANSWER_SECONDS = 30.0

PRELUDE = """
import socket, ssl, struct, sys, time
TOKEN = {token!r}

def tcp(host, port, data=None, seconds=6):
    with socket.create_connection((host, port), seconds) as line:
        line.settimeout(seconds)
        # On port 80 an allow list lets only HTTP through.
        web = f"GET /{{TOKEN}} HTTP/1.1\\r\\nHost: {{host}}\\r\\n\\r\\n"
        line.sendall(data if data is not None else (web if port == 80 else f"hello {{TOKEN}}\\r\\n\\r\\n").encode())
        print("answer:", line.recv(400))

def udp(host, port, data=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.settimeout(0.7)
        for _ in range(2):
            line.sendto(data or TOKEN.encode(), (host, port))
            try:
                print("answer:", line.recvfrom(400))
            except TimeoutError:
                print("silence")

def query(labels, kind=1):
    name = b"".join(bytes([len(one)]) + one for one in labels) + b"\\0"
    return struct.pack("!6H", 4711, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", kind, 1)

def ask(name, server="10.0.2.3", kind=1, by_tcp=False):
    labels = [one.encode("latin-1") for one in name.split(".")] if isinstance(name, str) else name
    message = query(labels, kind)
    if by_tcp:
        with socket.create_connection((server, 53), 6) as line:
            line.settimeout(6)
            line.sendall(struct.pack("!H", len(message)) + message)
            reply = line.recv(600)[2:]
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.settimeout(6)
            line.sendto(message, (server, 53))
            reply = line.recv(600)
    print("code", reply[3] & 15, "answers", struct.unpack("!H", reply[6:8])[0], "last", list(reply[-4:]))
    return reply

def https(host, sni, header=None, port=443):
    context = ssl._create_unverified_context()
    with socket.create_connection((host, port), 6) as plain:
        plain.settimeout(6)
        with context.wrap_socket(plain, server_hostname=sni) as line:
            line.sendall(f"GET /{{TOKEN}} HTTP/1.1\\r\\nHost: {{header or sni}}\\r\\n\\r\\n".encode())
            print("answer:", line.recv(400))

def tls(host, sni, *pieces, alpn=()):
    context = ssl._create_unverified_context()
    if alpn:
        context.set_alpn_protocols(alpn)
    with socket.create_connection((host, 443), 6) as plain:
        plain.settimeout(6)
        with context.wrap_socket(plain, server_hostname=sni) as line:
            for piece in pieces:
                line.sendall(piece if isinstance(piece, bytes) else piece.encode())
                print("answer:", line.recv(400))

def packet(protocol, target, payload, source="10.0.2.15"):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(target))
    total = sum(struct.unpack("!10H", head))
    total = (total >> 16) + (total & 0xffff)
    total = ~(total + (total >> 16)) & 0xffff
    return head[:10] + struct.pack("!H", total) + head[12:] + payload

def datagram(port, data=None):
    data = data or TOKEN.encode()
    return struct.pack("!4H", 4711, port, 8 + len(data), 0) + data

def frame(kind, payload, target=b"\\xff" * 6):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as line:
        line.bind(("eth0", 0))
        for _ in range(3):
            line.send(target + line.getsockname()[4] + struct.pack("!H", kind) + payload)
    time.sleep(0.3)  # nothing answers a raw frame

def gateway_mac():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.sendto(b"x", ("10.0.2.2", 9))
    time.sleep(0.2)  # for the answer to the ARP request
    for row in open("/proc/net/arp"):
        if row.startswith("10.0.2.2 "):
            return bytes.fromhex(row.split()[3].replace(":", ""))
    return b"\\xff" * 6

started = time.monotonic()
try:
{code}
except OSError as error:
    print("error:", type(error).__name__, error)
print("seconds %.3f" % (time.monotonic() - started))
"""


class HostCanaries:
    """Services of the host itself, on its loopback and its own addresses."""

    PORT = 8099

    def __init__(self) -> None:
        self.arrivals = world.Arrivals()
        for family, address in (
            (socket.AF_INET, "127.0.0.1"),
            (socket.AF_INET6, "::1"),
            (socket.AF_INET6, world.HOST6),
            (socket.AF_INET, world.HOST_OUTSIDE),
            (socket.AF_INET, world.HOST_LAN),
        ):
            threading.Thread(target=self._serve, args=(family, address), daemon=True).start()

    def _serve(self, family: int, address: str) -> None:
        with socket.create_server((address, self.PORT), family=family, backlog=64) as listener:
            while True:
                line, _ = listener.accept()
                self.arrivals.note(via="host", protocol=6, target=address, port=self.PORT, data="")
                line.close()


class Lab:
    """Canaries and guests; everything ends with the block, or with this process."""

    def __init__(self, folder: Path, guests: Guests) -> None:
        self.folder = folder
        self.guests = guests

    @contextmanager
    def running(self) -> Iterator[Lab]:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        make_identity(self.folder, ["allowed.test", "other.test", "one.wild.test", "rules.test"])
        os.environ["SSL_CERT_FILE"] = str(self.folder / "roots.pem")
        argv = [sys.executable, "-m", "tests.leaks.world", str(self.folder)]
        with subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as self._world:
            try:
                self._hear("here")
                self._lay_cables(self._world.pid)
                self._say()
                self._hear("ready")
                self.host = HostCanaries()
                yield self
            finally:
                self._world.kill()

    def _lay_cables(self, pid: int) -> None:
        for name, peer in (("near", "outside"), ("nearlan", "lan")):
            world.ip(f"link add {name} type veth peer name {peer} netns {pid}")
        world.ip("link set lo up")
        world.ip(f"address add {world.HOST_OUTSIDE}/32 dev near")
        world.ip(f"address add {world.HOST_NEAR}/24 dev near")
        world.ip(f"-6 address add {world.HOST6}/64 dev near nodad")
        world.ip(f"address add {world.HOST_LAN}/24 dev nearlan")
        for name in ("near", "nearlan"):
            world.ip(f"link set {name} up")
        for address in (*world.LANS[1:], world.METADATA):
            world.ip(f"route add {address}/32 dev nearlan src {world.HOST_LAN}")
        world.ip(f"route add default via {world.WEB} dev near onlink src {world.HOST_OUTSIDE}")
        for name, text in (
            ("resolv.conf", f"nameserver {world.NAMES}\n"),
            ("hosts", "127.0.0.1 localhost\n10.77.0.2 inhosts.test\n"),
        ):
            (self.folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(self.folder / name), f"/etc/{name}"], check=True)

    def arrivals(self) -> list[dict[str, object]]:
        """Return what has come to any canary since the last call."""
        seen: list[dict[str, object]] = self._ask("take")
        return seen + self.host.arrivals.take()

    def reachable_from_outside(self, host: str, port: int) -> bool:
        """Return whether the internet can open a TCP connection to the host."""
        return bool(self._ask(f"dial {host} {port}"))

    def attack(self, id_: str, code: str, token: str) -> str:
        """Run a program in a guest, and return its output."""
        indented = "\n".join(f"    {line}" for line in code.strip().splitlines())
        program = PRELUDE.format(token=token, code=indented)
        return self.guests.run(id_, ["python3", "-c", program])

    def _ask(self, wish: str) -> Any:
        self._say(wish)
        return json.loads(self._line())

    def _say(self, line: str = "") -> None:
        assert self._world.stdin is not None
        self._world.stdin.write(f"{line}\n")
        self._world.stdin.flush()

    def _hear(self, wanted: str) -> None:
        assert self._line().strip() == wanted

    def _line(self) -> str:
        """Read the world's next line: it sends one for each that it gets, so nothing waits in a buffer."""
        assert self._world.stdout is not None
        assert select.select([self._world.stdout], [], [], _ANSWER_SECONDS)[0], "the world says nothing"
        return self._world.stdout.readline()


def make_identity(folder: Path, names: Sequence[str]) -> None:
    """Make a self-signed certificate for these names: web.pem with its key, roots.pem without."""
    key, certificate = folder / "key.pem", folder / "roots.pem"
    words = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-subj", "/CN=the lab", "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    (folder / "web.pem").write_text(key.read_text() + certificate.read_text())


def knock(kind: str, target: str, port: int | None, token: str) -> None:
    """Send traffic of the attack's kind from the host to a canary, to show that the canary notices it."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with suppress(OSError):
        if kind == "tcp":
            with socket.socket(family, socket.SOCK_STREAM) as line:
                line.settimeout(3)
                line.connect((target, port))
                line.sendall(token.encode())
                line.shutdown(socket.SHUT_WR)
                while line.recv(4096):  # until its end, or packets of ours would follow later and count as the guest's
                    pass
        elif kind == "udp":
            with socket.socket(family, socket.SOCK_DGRAM) as line:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                line.sendto(token.encode(), (target, port))
        else:
            number = {"icmp": 1, "ipip": 4, "gre": 47, "sctp": 132}[kind]
            with socket.socket(family, socket.SOCK_RAW, number) as line:
                line.sendto(b"\x08\x00\x00\x00\x00\x01\x00\x01" + token.encode(), (target, 0))


def settle() -> None:
    """Wait until packets that are on their way have arrived: no event tells that none will come."""
    time.sleep(0.15)
