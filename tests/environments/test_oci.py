from __future__ import annotations

import base64
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pyro_mcp.environments import EnvironmentStore
from pyro_mcp.errors import EnvironmentFailed, NoSpace
from tests.environments.conftest import running_registry
from tests.environments.oci_images import HELLO, Entry, Registry, folder, link
from tests.environments.test_store import small_disk

Extract = Callable[[Path], Path]
# bcrypt of "open-sesame", with the least rounds.
_HTPASSWD = "ali:$2b$05$abcdefghijklmnopqrstuutXu9KzOt.1yBoZUeFWoT/914/JfszCO\n"


def test_an_image_becomes_a_root_with_its_owners_and_modes(
    environments: EnvironmentStore, registry: Registry, extract: Extract
) -> None:
    digest = registry.push("plain:1", HELLO)
    image = environments.pull(f"oci:{registry.address}/plain:1")
    assert image.version == digest
    assert image == environments.installed(image.name)
    root = extract(image.path)
    assert (root / "bin/hello").read_bytes() == b"hello\n"
    assert (root / "bin/hello").stat().st_mode & 0o777 == 0o755
    if os.geteuid() == 0:
        assert (root / "etc/shadow").stat().st_uid == 42


def test_the_guests_mount_points_are_made_and_never_followed(
    environments: EnvironmentStore, registry: Registry, extract: Extract, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    registry.push("mounts:1", [link("workspace", str(elsewhere)), link("tmp", "/etc"), Entry("proc")])
    root = extract(environments.pull(f"oci:{registry.address}/mounts:1").path)
    assert all((root / name).is_dir() and not (root / name).is_symlink() for name in ("workspace", "proc", "dev"))
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not elsewhere.exists()


def test_the_configured_environment_is_kept_and_nonsense_in_it_is_dropped(
    environments: EnvironmentStore, registry: Registry
) -> None:
    given = ["PATH=/app/bin:/bin", "EMPTY=", "A=b=c", "=x", "novalue", "NUL=a\0b", "LONE=\ud800", ""]
    registry.push("env:1", HELLO, environ=given)
    image = environments.pull(f"oci:{registry.address}/env:1")
    assert image.environ == {"HOME": "/root", "PATH": "/app/bin:/bin", "EMPTY": "", "A": "b=c"}


def test_whiteouts_remove_files_and_opaque_folders_hide_older_layers(
    environments: EnvironmentStore, registry: Registry, extract: Extract
) -> None:
    first = [folder("a"), Entry("a/gone"), Entry("a/stays"), folder("b"), Entry("b/hidden")]
    second = [folder("a"), Entry("a/.wh.gone"), folder("b"), Entry("b/.wh..wh..opq"), Entry("b/new")]
    registry.push("whiteout:1", first, second)
    root = extract(environments.pull(f"oci:{registry.address}/whiteout:1").path)
    assert [path.name for path in (root / "a").iterdir()] == ["stays"]
    assert [path.name for path in (root / "b").iterdir()] == ["new"]


def test_a_pinned_image_is_pulled_by_its_digest_even_when_the_tag_has_moved(
    environments: EnvironmentStore, registry: Registry, extract: Extract
) -> None:
    digest = registry.push("moving:1", [Entry("old")])
    registry.push("moving:1", [Entry("new")])
    image = environments.pull(f"oci:{registry.address}/moving:1@{digest}")
    assert image.version == digest
    assert (extract(image.path) / "old").exists()


def test_of_an_index_the_variant_for_this_architecture_is_taken(
    environments: EnvironmentStore, registry: Registry, extract: Extract
) -> None:
    variants = {
        "arm64": registry.push("index:arm", [Entry("arm")], architecture="arm64"),
        "amd64": registry.push("index:amd", [Entry("amd")]),
    }
    digest = registry.push_index("index", "1", variants)
    image = environments.pull(f"oci:{registry.address}/index:1")
    assert image.version == digest
    assert (extract(image.path) / "amd").exists()


def test_an_index_without_this_architecture_is_refused(environments: EnvironmentStore, registry: Registry) -> None:
    digest = registry.push("armindex:arm", HELLO, architecture="arm64")
    registry.push_index("armindex", "1", {"arm64": digest})
    refused(environments, f"oci:{registry.address}/armindex:1", "no variant for linux/amd64")


def test_an_image_for_another_architecture_is_refused(environments: EnvironmentStore, registry: Registry) -> None:
    registry.push("arm:1", HELLO, architecture="arm64")
    refused(environments, f"oci:{registry.address}/arm:1", "'linux/arm64', not for linux/amd64")


def test_a_missing_tag_is_named(environments: EnvironmentStore, registry: Registry) -> None:
    registry.push("tags:1", HELLO)
    refused(environments, f"oci:{registry.address}/tags:2", "does not have tags:2")


def test_a_missing_repository_is_named(environments: EnvironmentStore, registry: Registry) -> None:
    refused(environments, f"oci:{registry.address}/nobody/nothing:1", "does not have nobody/nothing:1")


def test_a_digest_that_the_registry_does_not_have_is_named(environments: EnvironmentStore, registry: Registry) -> None:
    registry.push("pinned:1", HELLO)
    digest = "sha256:" + "0" * 64
    refused(environments, f"oci:{registry.address}/pinned:1@{digest}", f"does not have the digest {digest}")


def test_a_manifest_that_does_not_match_its_digest_is_refused(
    environments: EnvironmentStore, registry: Registry
) -> None:
    digest = registry.push("forged:1", HELLO, [Entry("forged")])
    manifest = registry.blob(digest)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    refused(environments, f"oci:{registry.address}/forged:1@{digest}", "damaged")


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_layer_is_refused(environments: EnvironmentStore, registry: Registry, damage: str) -> None:
    name = f"layer-{damage}"
    digest = registry.push(f"{name}:1", [Entry("data", os.urandom(100_000))])
    layer = registry.layers(digest)[0]
    content = layer.read_bytes()
    layer.write_bytes({"truncated": content[:50_000], "changed": b"x" + content[1:], "empty": b""}[damage])
    refused(environments, f"oci:{registry.address}/{name}:1", "damaged")


def test_a_registry_that_does_not_answer_is_named(environments: EnvironmentStore) -> None:
    refused(environments, "oci:127.0.0.1:9/a/b:1", "the registry 127.0.0.1:9 cannot be reached")


def test_plain_http_is_not_spoken_to_other_machines(environments: EnvironmentStore, registry: Registry) -> None:
    # 127.0.0.2 is the same registry's machine, but not one of the names that we know to be loopback.
    port = registry.address.split(":")[1]
    with pytest.raises(EnvironmentFailed, match=r"127\.0\.0\.2"):
        environments.pull(f"oci:127.0.0.2:{port}/plain:1")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    """A registry that asks for a password."""
    passwords = tmp_path / "htpasswd"
    passwords.write_text(_HTPASSWD)
    with running_registry(tmp_path, f"auth: {{htpasswd: {{realm: here, path: {passwords}}}}}\n") as registry:
        yield registry


def test_a_registry_with_a_password_is_asked_with_the_users_own_credentials(
    environments: EnvironmentStore, guarded: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded.push("private:1", HELLO, credentials="ali:open-sesame")
    name = f"oci:{guarded.address}/private:1"
    login = tmp_path / "auth.json"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(login))
    refused(environments, name, "denies access to", hint=f"skopeo login {guarded.address}")
    secret = base64.b64encode(b"ali:open-sesame").decode()
    login.write_text(json.dumps({"auths": {guarded.address: {"auth": secret}}}))
    assert environments.pull(name).name == name


_ESCAPES = {
    "dots": [[Entry("../../../escaped", b"out")]],
    "dots inside": [[folder("a"), Entry("a/../../../../escaped", b"out")]],
    "absolute": [[Entry("{outside}/escaped", b"out")]],
    "file through a link": [[link("way", "{outside}"), Entry("way/escaped", b"out")]],
    "file through a relative link": [[link("way", "../../.."), Entry("way/escaped", b"out")]],
    "link in an older layer": [[link("way", "{outside}")], [Entry("way/escaped", b"out")]],
    "folder over a link": [[link("way", "{outside}")], [folder("way/escaped")]],
    "hard link outward": [[link("leak", "{outside}/secret", tarfile.LNKTYPE)]],
    "hard link with dots": [[link("leak", "../../../../outside/secret", tarfile.LNKTYPE)]],
    "hard link through a link": [[link("way", "{outside}"), link("leak", "way/secret", tarfile.LNKTYPE)]],
    "write through a hard link": [
        [link("leak", "{outside}/secret", tarfile.LNKTYPE), Entry("leak", b"overwritten")],
    ],
    "whiteout through a link": [[link("way", "{outside}")], [Entry("way/.wh.secret")]],
    "whiteout with dots": [[Entry("../../../../../outside/.wh.secret")]],
    "whiteout of the parent": [[Entry(".wh..."), Entry(".wh..")]],
}


@pytest.mark.parametrize("layers", _ESCAPES.values(), ids=_ESCAPES.keys())
def test_a_layer_cannot_reach_out_of_its_root(
    environments: EnvironmentStore, registry: Registry, extract: Extract, tmp_path: Path, layers: list[list[Entry]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    placed = [[_placed(entry, outside) for entry in layer] for layer in layers]
    registry.push("escape:1", *placed)
    try:
        image = environments.pull(f"oci:{registry.address}/escape:1")
    except EnvironmentFailed:
        image = None
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (outside / "secret").stat().st_nlink == 1
    assert list(tmp_path.rglob("escaped")) == []
    if image:
        leaks = [path for path in extract(image.path).rglob("leak") if path.is_file() and not path.is_symlink()]
        assert all(path.read_bytes() != b"secret" for path in leaks)


def _placed(entry: Entry, outside: Path) -> Entry:
    place = str(outside)
    return Entry(
        entry.path.format(outside=place), entry.content, entry.kind, entry.target.format(outside=place), entry.mode
    )


def test_a_file_that_is_not_an_image_is_refused(environments: EnvironmentStore, registry: Registry) -> None:
    digest = registry.push("nested:1", HELLO, environ=["X=1"])
    manifest = json.loads(registry.blob(digest).read_bytes())
    registry.blob(manifest["config"]["digest"]).write_bytes(b"[" * 100_000)
    with pytest.raises(EnvironmentFailed):
        environments.pull(f"oci:{registry.address}/nested:1")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("megabytes", [1, 3], ids=["the layers do not fit", "the tree does not fit"])
def test_a_disk_that_is_too_small_for_an_image_is_a_clear_error(
    cache: Path, registry: Registry, megabytes: int
) -> None:
    registry.push("big:1", [Entry("data", os.urandom(2 << 20))])
    with small_disk(cache, megabytes):
        environments = EnvironmentStore(cache)
        with pytest.raises(NoSpace):
            environments.pull(f"oci:{registry.address}/big:1")
        assert environments.installed(f"oci:{registry.address}/big:1") is None


@pytest.mark.parametrize("moment", ["asking", "fetching", "unpacking", "writing the image"])
def test_a_pull_killed_at_any_moment_leaves_nothing_behind_for_the_next(
    environments: EnvironmentStore,
    cache: Path,
    registry: Registry,
    start_puller: Callable[..., subprocess.Popen[str]],
    moment: str,
) -> None:
    registry.push("killed:1", [Entry("data", os.urandom(1 << 20))])
    name = f"oci:{registry.address}/killed:1"
    puller = start_puller(cache, name)
    assert puller.stdout is not None
    assert any(line.startswith(moment) for line in puller.stdout)
    puller.kill()
    puller.wait(10)
    assert environments.installed(name) is None
    image = environments.pull(name)
    assert sorted(path.name for path in image.path.parents[1].iterdir()) == [".lock", image.path.parent.name]
    assert programs_that_name(cache) == []


def programs_that_name(path: Path) -> list[str]:
    """The command lines of all running programs that mention `path`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(path) in line]


def refused(environments: EnvironmentStore, name: str, message: str, hint: str = "") -> None:
    """Pulling `name` fails with these words, and leaves nothing installed."""
    with pytest.raises(EnvironmentFailed) as caught:
        environments.pull(name)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert environments.installed(name) is None
