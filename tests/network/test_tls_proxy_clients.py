"""The programs that people use, against the TLS proxy: each trusts it by the variables that machines are given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_mcp.network import GuestCA
from pyro_mcp.network.http.guest_ca import BUNDLE
from tests.network.tls_site import HOST, SECRET, VALUE, Web

Client = Callable[..., subprocess.CompletedProcess[str]]

# In a mount namespace of its own the client finds the host's name at the loopback.
_IN_PLACE = 'mount --bind "$HOSTS" /etc/hosts && exec "$@"'

PYTHON = """
import json, os, sys, urllib.request
headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
print(urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers)).read().decode())
"""
NODE = """
fetch(process.argv[1], {headers: {Authorization: "Bearer " + process.env.TOKEN}})
  .then(answer => answer.text()).then(console.log)
"""
JAVA = """
import java.net.*;
import java.net.http.*;
public class Main {
    public static void main(String[] words) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(words[0]))
            .header("Authorization", "Bearer " + System.getenv("TOKEN")).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""


@pytest.fixture
def web(tmp_path: Path) -> Web:
    return Web(tmp_path)


@pytest.fixture
def port(web: Web) -> Iterator[int]:
    with web.listening() as port:
        yield port


@pytest.fixture
def client(web: Web, tmp_path: Path) -> Client:
    """Runs a program as in a machine: what it trusts is in `tmp_path`, and it has the secret's placeholder."""
    (tmp_path / "hosts").write_text(f"127.0.0.1 localhost {HOST}\n")
    environ = GuestCA(web.authority).environ()
    for place, (_, content) in GuestCA(web.authority).files().items():
        path = tmp_path / place.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        environ = {key: value.replace(place, str(path)) for key, value in environ.items()}
    environ |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HOSTS": str(tmp_path / "hosts")}
    environ |= {"TOKEN": SECRET.placeholder, "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        if shutil.which(words[0]) is None:
            pytest.skip(f"this host has no {words[0]}")
        command = ["unshare", "--mount", "--map-root-user", "sh", "-c", _IN_PLACE, "sh", *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environ)

    return run


def programs(tmp_path: Path, address: str) -> dict[str, list[str]]:
    (tmp_path / "Main.java").write_text(JAVA)
    header = f"Authorization: Bearer {SECRET.placeholder}"
    return {
        "curl": ["curl", "-sS", "-H", header, address],
        "wget": ["wget", "-qO-", f"--ca-certificate={tmp_path}{BUNDLE}", f"--header={header}", address],
        "python": ["/usr/bin/python3", "-c", PYTHON, address],
        "node": ["node", "-e", NODE, address],
        "java": ["java", str(tmp_path / "Main.java"), address],
    }


@pytest.mark.parametrize("name", ["curl", "wget", "python", "node", "java"])
def test_a_program_sends_a_placeholder_and_the_host_gets_the_secret(
    web: Web, client: Client, port: int, tmp_path: Path, name: str
) -> None:
    done = client(*programs(tmp_path, f"https://{HOST}:{port}/")[name])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["headers"]["Authorization"] == f"Bearer {SECRET.placeholder}"
    assert web.asked[0][0]["headers"]["Authorization"] == f"Bearer {VALUE}"
    assert VALUE not in done.stdout + done.stderr


def test_git_logs_in_with_a_placeholder(client: Client, port: int) -> None:
    done = client("git", "ls-remote", f"https://git:{SECRET.placeholder}@{HOST}:{port}/project.git")
    assert (done.returncode, done.stdout) == (0, f"{'1' * 40}\tHEAD\n{'1' * 40}\trefs/heads/main\n"), done.stderr
    refused = client("git", "ls-remote", f"https://git:wrong@{HOST}:{port}/project.git")
    assert refused.returncode != 0


def test_a_program_that_does_not_trust_the_authority_sends_nothing(web: Web, client: Client, port: int) -> None:
    done = client("curl", "-sS", "--cacert", "/etc/ssl/certs/ca-certificates.crt", f"https://{HOST}:{port}/")
    assert done.returncode == 60 and web.asked == []
