"""Programs of a bottle that ask a host whose TLS ends at the gateway, and must trust the bottle's own authority."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST = "trusted.example.com"
ANSWER = "what-the-host-answers"
PURE_PYTHON = ("requests", "certifi", "urllib3", "idna", "charset_normalizer")

_ASK = """
try() { # name, program: passes if the program ends well and shows the answer
    name=$1; shift
    if said=$("$@" 2>&1); then code=0; else code=$?; fi
    case "$code $said" in "0 "*ANSWER*) echo "$name: ok" ;; *) echo "$name: $code $(echo "$said" | tail -c 400)" ;; esac
}
url=https://HOST/
plain="env -i PATH=$PATH HOME=$HOME"
urllib='import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=20).read())'
requests='import requests, sys; print(requests.get(sys.argv[1], timeout=20).text)'
fetch='fetch(process.argv[1]).then(r => r.text()).then(console.log)'
s_client() {
    printf 'GET / HTTP/1.1\\r\\nHost: HOST\\r\\nConnection: close\\r\\n\\r\\n' |
        openssl s_client -quiet -verify_return_error -verify_hostname HOST -connect HOST:443 -servername HOST
}
try python3 python3 -c "$urllib" "$url"
try 'python3, no variables' $plain python3 -c "$urllib" "$url"
PYTHONPATH=/workspace/python try requests python3 -c "$requests" "$url"
try node node -e "$fetch" "$url"
try curl curl -sS "$url"
try 'curl, no variables' $plain curl -sS "$url"
try git git ls-remote "${url}project.git"
try 'git, no variables' $plain git ls-remote "${url}project.git"
try openssl s_client
try 'curl, no roots' curl -sS --cacert /dev/null "$url"
echo the end
"""
ASK = _ASK.replace("HOST", HOST).replace("ANSWER", ANSWER)
TRUSTING = [
    "python3",
    "python3, no variables",
    "requests",
    "node",
    "curl",
    "curl, no variables",
    "git",
    "git, no variables",
    "openssl",
]


def copy_requests(folder: Path) -> None:
    """Copy the package `requests`, with the roots of `certifi` that it trusts by itself, to `folder`/python."""
    for name in PURE_PYTHON:
        found = importlib.util.find_spec(name)
        assert found is not None and found.origin is not None
        shutil.copytree(Path(found.origin).parent, folder / "python" / name)


def check(shown: str) -> None:
    """Check what `ASK` printed: every program trusts, and one that trusts nothing is refused."""
    found = dict(line.strip().split(": ", 1) for line in shown.splitlines() if ": " in line)
    assert "the end" in shown, shown
    assert {name: found.get(name) for name in TRUSTING} == dict.fromkeys(TRUSTING, "ok"), shown
    assert found["curl, no roots"].startswith(("60 ", "77 ")), shown  # no certificate matches; the list is no list


@contextmanager
def host() -> Iterator[str]:
    """Serve the host on loopback, as a site and as a Git repository; yields its address for `upstream`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = ANSWER if self.path == "/" else f"{'1' * 40}\trefs/heads/{ANSWER}\n"
            known = self.path == "/" or self.path.partition("?")[0] == "/project.git/info/refs"
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """The answer is what counts."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
