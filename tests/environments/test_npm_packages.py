"""Packages of npm's registry: the registry that the host's npm uses, and nothing but the pinned file."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pyro_mcp.environments.catalog import CATALOG, NpmPackage
from pyro_mcp.environments.npm_packages import install_package
from pyro_mcp.errors import EnvironmentFailed
from pyro_mcp.host.mirrors import npm_registry, npm_token


def packed() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, mode in (("cli", 0o755), ("lib/one.js", 0o644), ("lib/../../../escape", 0o644), ("other", 0o644)):
            member = tarfile.TarInfo(f"package/{name}")
            member.mode, member.size = mode, len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return data.getvalue()


PACKED = packed()
PACKAGE = NpmPackage(
    "@owner/tool",
    "1.2.3",
    f"sha512-{base64.b64encode(hashlib.sha512(PACKED).digest()).decode()}",
    {"cli": "usr/local/bin/tool", "lib": "usr/local/lib/tool"},
    {"usr/local/bin/alias": "tool"},
)


@dataclass
class Registry:
    url: str
    content: bytes = PACKED
    tokens: list[str] = field(default_factory=list)


@pytest.fixture
def registry(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry with one package, which the environment names to npm, and its settings do not."""
    (home / ".npmrc").write_text("registry=http://127.0.0.1:9/\n")
    found = Registry("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/npm/@owner/tool/-/tool-1.2.3.tgz"
            found.tokens.append(str(self.headers.get("Authorization")))
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(found.content if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("http_proxy", "HTTP_PROXY", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    found.url = f"http://127.0.0.1:{server.server_port}/npm/"
    monkeypatch.setenv("npm_config_registry", found.url)
    yield found
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.mark.usefixtures("registry")
def test_the_named_files_of_the_pinned_package_are_installed_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    install_package(PACKAGE, root, tmp_path)
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert sorted(files) == ["usr/local/bin/alias", "usr/local/bin/tool", "usr/local/lib/tool/one.js"]
    assert files["usr/local/bin/tool"].read_text() == files["usr/local/bin/alias"].read_text() == "cli"
    assert [files[name].stat().st_mode & 0o777 for name in sorted(files)] == [0o755, 0o755, 0o644]
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


@pytest.mark.parametrize("content", [PACKED[:-1], PACKED + b"x", b""])
def test_another_file_than_the_pinned_one_is_refused(registry: Registry, tmp_path: Path, content: bytes) -> None:
    registry.content = content
    with pytest.raises(EnvironmentFailed, match="another hash than expected"):
        install_package(PACKAGE, tmp_path / "root", tmp_path)
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("registry")
def test_a_registry_without_the_package_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"tool-9\.tgz cannot be read: .*404") as caught:
        install_package(replace(PACKAGE, version="9"), tmp_path / "root", tmp_path)
    assert "npm config get registry" in caught.value.hint


@pytest.mark.usefixtures("registry")
def test_a_registry_that_cannot_be_reached_is_an_error_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_registry", "http://me:pass@127.0.0.1:9/npm")
    with pytest.raises(EnvironmentFailed, match=r"http://127\.0\.0\.1:9/npm/@owner/tool") as caught:
        install_package(PACKAGE, tmp_path / "root", tmp_path)
    assert "pass" not in caught.value.message


def test_npms_settings_name_the_registry_and_its_token(
    registry: Registry, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = registry.url.removeprefix("http:")
    (home / ".npmrc").write_text(f"registry={registry.url}\n{server}:_authToken=${{TOKEN_OF_TEST}}\n")
    monkeypatch.setenv("TOKEN_OF_TEST", "t0k3n")
    monkeypatch.delenv("npm_config_registry")
    assert npm_registry() == registry.url
    assert npm_token("http://other.example/npm") is None
    install_package(PACKAGE, tmp_path / "root", tmp_path)
    assert registry.tokens == ["Bearer t0k3n"]


def test_every_package_of_the_catalogue_is_pinned_by_version_and_hash() -> None:
    packages = [package for recipe in CATALOG.values() for package in recipe.npm_packages]
    assert packages
    for package in packages:
        assert len(base64.b64decode(package.integrity.removeprefix("sha512-"), validate=True)) == 64
        assert package.version.count(".") == 2
