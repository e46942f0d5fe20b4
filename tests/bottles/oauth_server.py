"""A scripted authorization server on loopback: each refresh token works once, as those of the providers do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs


@dataclass
class OAuth:
    """The tokens that the server accepts and gives out; `paths` are those that were requested."""

    refresh: str = "refresh-0"
    issued: int = 0
    address: str = ""
    paths: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def answer(self, given: str) -> dict[str, object] | None:
        """Return the next tokens for a refresh token, None for one that was used before."""
        if given != self.refresh:
            self.reused.append(given)
            return None
        self.issued += 1
        self.refresh = f"refresh-{self.issued}"
        return {
            "token_type": "Bearer",
            "access_token": f"access-{self.issued}",
            "refresh_token": self.refresh,
            "expires_in": 28800,
            "scope": "user:inference user:profile",
        }


@contextmanager
def oauth_server() -> Iterator[OAuth]:
    """Serve on a port of loopback, for the time of the block; yields what it knows."""
    oauth = OAuth()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            oauth.paths.append(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if "json" in self.headers.get("Content-Type", ""):
                given = str(json.loads(content).get("refresh_token"))
            else:
                given = parse_qs(content).get("refresh_token", [""])[0]
            found = oauth.answer(given)
            body = json.dumps(found or {"error": "invalid_grant"}).encode()
            self.send_response(200 if found else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests look at what the block gets."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening.getsockname(), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        oauth.address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield oauth
        finally:
            server.shutdown()
            thread.join()
