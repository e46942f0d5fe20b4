"""What the gate answers to requests that no git sends."""

from __future__ import annotations

import gzip
import socket
import urllib.parse

from claude_bottle.gate.commands import ZERO
from claude_bottle.gate.pkt_line import packet
from tests.bottles.gate.raw import ask, commands, post
from tests.bottles.gate.world import World, text

ID = "1" * 40


NOT_SERVED = [
    "/",
    "/origin.git",
    "/origin.git/HEAD",
    "/origin.git/config",
    "/origin.git/info/refs",
    "/origin.git/info/refs?service=git-upload-archive",
    "/origin.git/info/refs?service=git-upload-pack&x=1",
    "/origin.git/objects/info/packs",
    "/origin.git/info/lfs/objects/batch",
    "/other.git/info/refs?service=git-upload-pack",
    "/../origin.git/info/refs?service=git-upload-pack",
    "/origin.git/../origin.git/info/refs?service=git-upload-pack",
    "/origin.git/mirror.git/info/refs?service=git-upload-pack",
    "/%6frigin.git/info/refs?service=git-upload-pack",
    "//origin.git/info/refs?service=git-upload-pack",
    "/-x.git/info/refs?service=git-upload-pack",
    "http://elsewhere.example/origin.git/info/refs?service=git-upload-pack",
]


def test_only_smart_requests_of_declared_names_are_served(world: World) -> None:
    with world.gate(clone=False) as url:
        statuses = {target: ask(url, "GET", target)[0] for target in NOT_SERVED}
        assert statuses == dict.fromkeys(NOT_SERVED, 404)
        assert ask(url, "GET", "/origin.git/info/refs?service=git-upload-pack")[0] == 200
    assert [one["decision"] for one in world.journal] == ["refused"] * len(NOT_SERVED)


def test_other_methods_are_refused(world: World) -> None:
    target, empty = "/origin.git/info/refs?service=git-upload-pack", {"Content-Length": "0"}
    with world.gate(clone=False) as url:
        for method in ("POST", "PUT", "DELETE", "PROPFIND", "OPTIONS"):
            assert ask(url, method, target, empty)[0] == 405
        assert ask(url, "GET", "/origin.git/git-receive-pack")[0] == 405


def test_a_remote_without_the_right_says_so(world: World) -> None:
    with world.gate(world.remote(fetch=False), clone=False) as url:
        done = world.git("ls-remote", f"{url}/origin.git", cwd=world.root, check=False)
        assert "does not let this bottle fetch from origin" in text(done)
        assert post(f"{url}/origin.git", b"0000", service="git-upload-pack").startswith(b"403 ")


DAMAGED = [
    b"",
    b"zzzz",
    b"0003",
    b"00+5a0000",
    b"fff5" + b"a" * 100,
    packet(b"push-cert\0push-cert=x report-status side-band-64k") + b"0000",
    packet(f"{ID} {ID} refs/heads/agent/x\0report-status side-band-64k push-options".encode()) + b"0000",
    packet(f"{ID} {ID}".encode()) + b"0000",
    packet(f"{ID[:-1]}G {ID} refs/heads/agent/x".encode()) + b"0000",
    packet(f"{ID} {ID} refs/heads/agent/x".encode()) + b"0000",
    b"".join(packet(f"shallow {ID}".encode()) for _ in range(1100)) + b"0000",
]


def test_a_damaged_push_is_refused_and_the_gate_goes_on(world: World) -> None:
    with world.gate(clone=False) as url:
        for body in DAMAGED:
            assert post(f"{url}/origin.git", body).startswith(b"400 "), body[:100]
        assert ask(url, "GET", "/origin.git/info/refs?service=git-upload-pack")[0] == 200


def test_an_odd_ref_is_refused_and_shown_visibly(world: World) -> None:
    odd = ["refs/heads/agent/../main", "refs/heads/agent/x\n", "refs/heads/agent/\x1b[2J", "--upload-pack=x", "@", ""]
    with world.gate(clone=False) as url:
        for ref in odd:
            answer = post(f"{url}/origin.git", commands([(ZERO, world.base, ref)]) + b"PACK")
            assert b"may not be pushed" in answer or answer.startswith(b"400 "), ref
            assert b"\x1b" not in answer.replace(ref.encode() + b" ", b"") if ref else answer
    assert "\x1b" not in str([one["what"].get("reason") for one in world.journal])


def test_a_gzip_bomb_and_damaged_gzip_are_refused(world: World) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    headers = {"Content-Encoding": "gzip"}
    with world.gate(clone=False) as url:
        answer = post(f"{url}/origin.git", bomb, service="git-upload-pack", headers=headers)
        assert b"larger than 16 MiB" in answer
        answer = post(f"{url}/origin.git", b"no gzip", service="git-upload-pack", headers=headers)
        assert b"is not" in answer
        answer = post(f"{url}/origin.git", b"x", service="git-upload-pack", headers={"Content-Encoding": "br"})
        assert b"not known here" in answer


NO_HTTP = [
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /origin.git/git-upload-pack HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"git-upload-pack /origin.git\0host=a\0",
]


def test_what_is_no_http_ends_the_connection(world: World) -> None:
    with world.gate(clone=False) as url:
        target = urllib.parse.urlsplit(url)
        for sent in NO_HTTP:
            with socket.create_connection((target.hostname, target.port), timeout=60) as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while data := connection.recv(65536):
                    answer += data
            assert b" 200 " not in answer, sent[:100]
        assert ask(url, "GET", "/origin.git/info/refs?service=git-upload-pack")[0] == 200


def test_an_unknown_protocol_is_not_passed_to_git(world: World) -> None:
    with world.gate(clone=False) as url:
        target = "/origin.git/info/refs?service=git-upload-pack"
        assert ask(url, "GET", target, {"Git-Protocol": "version=2:x=y"})[0] == 400


def test_objects_of_a_held_push_cannot_be_fetched(world: World) -> None:
    with world.gate() as url:
        new = world.commit({"a": "b"})
        assert "held" in text(world.push("origin", "HEAD:agent/x"))
        world.git("init", "-q", "other", cwd=world.root)
        done = world.git("fetch", f"{url}/origin.git", new, cwd=world.root / "other", check=False)
        assert done.returncode != 0
        assert world.git("fetch", f"{url}/origin.git", world.base, cwd=world.root / "other").returncode == 0
