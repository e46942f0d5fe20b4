"""A simulated internet, run in a network namespace of its own.

It prints "here" when it is in its namespace, and "ready" when all servers listen. TCP: a line with the address and port
of the server, then an echo. UDP: an echo. DNS: the names of `NAMES`.
"""

from __future__ import annotations

import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from pyro_mcp.network.dns import dns_message

WEB, OTHER, SITE, DNS = "93.184.215.14", "93.184.215.15", "93.184.215.16", "93.184.215.53"
SITE_NAME, SITE_KEY = "site.test", "site-key-0123456789abcdefghij"
"""A site that accepts only requests with this key; its certificate is site.pem in the folder that is the argument."""
LAN = "10.9.9.9"
NEIGHBOUR, NEIGHBOUR6 = "81.2.69.160", "2a02:6b8::160"
"""In a public network to which the host belongs."""
HOST_SIDE, THIS_SIDE = "172.31.0.2", "172.31.0.1"
TCP_PORTS, UDP_PORT = (80, 443, 7000), 7001
NAMES = {
    "web.test": WEB,
    "other.test": OTHER,
    SITE_NAME: SITE,
    "lan.test": LAN,
    "meta.test": "169.254.169.254",
    "loop.test": "127.0.0.1",
    "near.test": NEIGHBOUR,
    "near6.test": NEIGHBOUR6,
}
_MX, _TXT, _SRV, _PTR = 15, 16, 33, 12
RECORDS = {
    ("web.test", _TXT): [b"\x05a txt"],
    ("lan.test", _TXT): [b"\x05a txt"],
    ("web.test", _MX): [b"\0\1\3web\4test\0", b"\0\2\3lan\4test\0"],
    ("_ldap._tcp.test", _SRV): [b"\0\1\0\1\0\x50\3web\4test\0", b"\0\1\0\1\0\x50\3lan\4test\0"],
    ("9.9.9.10.in-addr.arpa", _PTR): [b"\3lan\4test\0"],
    ("1.0.0.0.d.f.ip6.arpa", _PTR): [b"\3web\4test\0"],
}


def set_up(device: str, *addresses: str) -> None:
    for address in addresses:
        subprocess.run(["ip", "address", "add", address, "dev", device], check=True)
    subprocess.run(["ip", "link", "set", device, "up"], check=True)


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        address, port = self.request.getsockname()
        if (address, port) == (SITE, 443):
            serve_site(self.request)
            return
        self.request.sendall(f"{address} {port}\n".encode())
        with suppress(ConnectionResetError):
            while data := self.request.recv(65536):
                self.request.sendall(data)


def serve_site(sock: socket.socket) -> None:
    """Answer one HTTPS request with its Authorization field, and whether that holds the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(sys.argv[1], "site.pem"))
    with suppress(OSError), context.wrap_socket(sock, server_side=True) as site:
        head = site.recv(65536).decode("latin-1")
        given = next((line for line in head.splitlines() if line.lower().startswith("authorization:")), "")
        verdict = "the key is right" if given.endswith(f" {SITE_KEY}") else "the key is wrong"
        body = f"{verdict}; {given}".encode()
        site.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


class Names(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        message, sock = self.request
        question = dns_message.parse_question(message)
        name = b".".join(question.labels).decode().lower()
        print("asked", name, question.type, flush=True)  # noqa: T201 - the tests read it
        found = RECORDS.get((name, question.type), [])
        address = NAMES.get(name, "")
        if address and question.type == (dns_message.AAAA if ":" in address else dns_message.A):
            found = [socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]
        known = address or any(name == one for one, _ in RECORDS)
        records = [dns_message.ResourceRecord(question.labels, question.type, 1, data) for data in found]
        reply = dns_message.reply(question, 0 if known else dns_message.NO_SUCH_NAME, records)
        sock.sendto(reply, self.client_address)


def echo_datagrams(sock: socket.socket) -> None:
    while True:
        data, sender = sock.recvfrom(65535)
        sock.sendto(data, sender)


class Servers(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024


def main() -> None:
    print("here", flush=True)  # noqa: T201
    sys.stdin.readline()  # until then the device is not here
    set_up("lo", "127.0.0.1/8")
    others = (f"{one}/32" for one in (WEB, OTHER, SITE, DNS, LAN, "169.254.169.254"))
    set_up("downlink", f"{THIS_SIDE}/24", f"{NEIGHBOUR}/24", *others)
    for port in TCP_PORTS:
        threading.Thread(target=Servers(("", port), Echo).serve_forever, daemon=True).start()
    names = socketserver.ThreadingUDPServer((DNS, 53), Names)
    threading.Thread(target=names.serve_forever, daemon=True).start()
    for address in (WEB, OTHER):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, UDP_PORT))
        threading.Thread(target=echo_datagrams, args=(sock,), daemon=True).start()
    print("ready", flush=True)  # noqa: T201
    sys.stdin.read()  # ends with whoever started it


if __name__ == "__main__":
    main()
