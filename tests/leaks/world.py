"""The canaries: an internet, a private network and a metadata service, in a network namespace of their own.

`python -m tests.leaks.world FOLDER` says "here" when it is in its namespace and "ready" when all listen. After that the
line "take" is answered with the JSON list of what has arrived since the last one, which is every packet that came in by
either cable and every request that a TLS server understood; and "dial HOST PORT" with whether that can be reached.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

from pyro_mcp.network.dns import dns_message

WEB, OTHER, NAMES, RESOLVER, PROXY = "93.184.215.14", "93.184.215.15", "93.184.215.53", "8.8.8.8", "93.184.215.31"
WEB6 = "2606:2800:220:1::14"
NEAR, HOST_NEAR, DOCUMENTS = "81.2.69.160", "81.2.69.1", "203.0.113.7"
LANS = ("10.77.0.2", "172.16.77.2", "192.168.77.2", "100.64.77.2")
METADATA = "169.254.169.254"
HOST_OUTSIDE, HOST_LAN, HOST6 = "93.184.215.1", "10.77.0.1", "2606:2800:220:1::1"
TCP_PORTS = (22, 25, 53, 80, 443, 853, 3128, 8080)
UDP_PORTS = (123, 443, 5353, 9999)
ZONE = {
    "allowed.test": [WEB],
    "ssh.test": [WEB],
    "rules.test": [WEB],
    "other.test": [OTHER],
    "proxy.test": [PROXY],
    "dns.test": [RESOLVER],
    "one.wild.test": [OTHER],
    "wild.test": [OTHER],
    "two.one.wild.test": [OTHER],
    "evilwild.test": [OTHER],
    "wild.test.evil.test": [OTHER],
    "near.test": [NEAR],
    "near6.test": [WEB6],
    "documents.test": [DOCUMENTS],
    "private.test": [LANS[0]],
    "metadata.test": [METADATA],
    "loop.test": ["127.0.0.1"],
    "zero.test": ["0.0.0.0"],  # noqa: S104 - an answer, nothing is bound
    "host.test": [HOST_OUTSIDE],
    "both.test": [LANS[0], WEB],
    "rebind.test": [WEB, LANS[0]],
    "private.wild.test": [LANS[0]],
    "loop.wild.test": ["127.0.0.1"],
}
ALIASES = {"alias.test": "private.test", "alias.wild.test": "other.test"}
ROTATING = {"rebind.test"}


class Arrivals:
    """What has come, until it is taken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: list[dict[str, object]] = []

    def note(self, **seen: object) -> None:
        with self._lock:
            self._seen.append(seen)

    def take(self) -> list[dict[str, object]]:
        with self._lock:
            seen, self._seen = self._seen, []
            return seen


ARRIVALS = Arrivals()


def watch(device: str) -> None:
    """Note every packet that comes in by a device, but for those that find neighbours."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as line:
        line.bind((device, 3))
        while True:
            packet, (_, _, kind, *_) = line.recvfrom(65535)
            if kind != 4:  # PACKET_OUTGOING
                note_packet(packet)


def note_packet(packet: bytes) -> None:
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        head, protocol, target = (packet[0] & 15) * 4, packet[9], socket.inet_ntoa(packet[16:20])
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        head, protocol, target = 40, packet[6], socket.inet_ntop(socket.AF_INET6, packet[24:40])
        if protocol == 0 or (protocol == 58 and packet[head] in {133, 134, 135, 136, 143}):
            return
    else:
        return
    port = struct.unpack_from("!H", packet, head + 2)[0] if protocol in {6, 17} and len(packet) >= head + 4 else None
    ARRIVALS.note(via="packet", protocol=protocol, target=target, port=port, data=packet[head:].decode("latin-1"))


def answer_names(line: socket.socket) -> None:
    turns = count()
    while True:
        message, asker = line.recvfrom(4096)
        with suppress(Exception):
            line.sendto(answer(message, next(turns)), asker)


def answer(message: bytes, turn: int) -> bytes:
    question = dns_message.parse_question(message)
    name = b".".join(question.labels).decode().lower()
    records, labels = [], question.labels
    if name in ALIASES:
        target = ALIASES[name].encode().split(b".")
        wire = b"".join(bytes([len(label)]) + label for label in target) + b"\0"
        records.append(dns_message.ResourceRecord(labels, 5, 1, wire))
        name, labels = ALIASES[name], tuple(target)
    if name not in ZONE:
        return dns_message.reply(question, dns_message.NO_SUCH_NAME)
    found = ZONE[name]
    if name in ROTATING:
        found = [found[turn // 2 % len(found)]]
    if question.type in (dns_message.A, dns_message.AAAA):
        family = socket.AF_INET if question.type == dns_message.A else socket.AF_INET6
        fitting = [one for one in found if (":" in one) == (question.type == dns_message.AAAA)]
        records += [
            dns_message.ResourceRecord(labels, question.type, 1, socket.inet_pton(family, one)) for one in fitting
        ]
    elif question.type == dns_message.TXT:
        records.append(dns_message.ResourceRecord(labels, dns_message.TXT, 1, b"\x04text"))
    return dns_message.reply(question, 0, records)


def serve_tcp(port: int, context: ssl.SSLContext | None) -> None:
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256)
    while True:
        line, _ = listener.accept()
        threading.Thread(target=serve_one, args=(line, port, context), daemon=True).start()


def serve_one(line: socket.socket, port: int, context: ssl.SSLContext | None) -> None:
    with suppress(OSError, ValueError), line:
        line.settimeout(20)
        if port == 443 and context is not None:
            line = context.wrap_socket(line, server_side=True)
        while data := line.recv(65536):
            if port == 443:
                ARRIVALS.note(via="https", protocol=6, target="", port=443, data=data.decode("latin-1"))
            if port == 3128 and data.startswith(b"CONNECT "):
                relay(line, data)
                return
            body = f"you reached {line.getsockname()[0].removeprefix('::ffff:')}\n".encode() + data
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def relay(line: socket.socket, request: bytes) -> None:
    host, port = request.split()[1].decode().rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as other:
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        other.sendall(line.recv(65536))
        line.sendall(other.recv(65536))


def echo(port: int) -> None:
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.bind(("", port))
    while True:
        data, sender = line.recvfrom(65535)
        line.sendto(data, sender)


def begin(target: object, *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def set_up() -> None:
    ip("link set lo up")
    for address in (WEB, OTHER, NAMES, RESOLVER, PROXY, DOCUMENTS):
        ip(f"address add {address}/32 dev outside")
    ip(f"address add {NEAR}/24 dev outside")
    ip(f"-6 address add {WEB6}/64 dev outside nodad")
    for address in (*LANS, METADATA):
        ip(f"address add {address}/32 dev lan")
    ip("link set outside up")
    ip("link set lan up")
    ip(f"route add {HOST_OUTSIDE}/32 dev outside src {WEB}")
    ip(f"route add {HOST_LAN}/32 dev lan src {LANS[0]}")


def main() -> None:
    print("here", flush=True)  # noqa: T201 - the lab reads it
    sys.stdin.readline()  # until then the cables are not here
    set_up()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(sys.argv[1], "web.pem"))
    for address in (NAMES, RESOLVER):
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((address, 53))
        begin(answer_names, names)
    for port in TCP_PORTS:
        begin(serve_tcp, port, context)
    for port in UDP_PORTS:
        begin(echo, port)
    for device in ("outside", "lan"):
        begin(watch, device)
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        wish, *words = line.split()
        answer = ARRIVALS.take() if wish == "take" else dialled(words[0], int(words[1]))
        print(json.dumps(answer), flush=True)  # noqa: T201


def dialled(host: str, port: int) -> bool:
    """Return whether a TCP connection from here succeeds."""
    with suppress(OSError), socket.create_connection((host, port), 3):
        return True
    return False


if __name__ == "__main__":
    main()
