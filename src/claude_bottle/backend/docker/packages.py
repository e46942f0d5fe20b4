"""The installation of a bottle's Debian packages: a further image, made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from claude_bottle.backend.docker.container import first_process
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.images import Image
from claude_bottle.backend.docker.names import STAGE_LABEL, Names
from claude_bottle.backend.interface import Say
from claude_bottle.errors import BottleFailed
from pyro_mcp.host.files import private_directory
from pyro_mcp.network import RESOLVER_ADDRESS, Rules, launch_gateway

_REPOSITORY = "claude-bottle/packages"
_DEADLINE = 1800.0
_SHOWN = 2000
_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT")
_INSTALL = """
export DEBIAN_FRONTEND=noninteractive
apt-get update >&2 && apt-get install -y --no-install-recommends "$@" >&2 && rm -rf /var/lib/apt/lists/*
"""


def image_with(engine: Engine, image: Image, packages: Sequence[str], names: Names, say: Say) -> Image:
    """Return an image that has `packages` too; make it when it is missing.

    Its name is a digest of the image and the packages, so a change of either makes another. apt reaches every public
    address, through a gateway of its own. Raises `BottleFailed` with the end of apt's output.
    """
    if not packages:
        return image
    content = json.dumps([image.id, sorted(packages)]).encode()
    reference = f"{_REPOSITORY}:{hashlib.sha256(content).hexdigest()[:32]}"
    found = engine.image(reference)
    if found is None:
        say(f"installing {', '.join(packages)}")
        _make(engine, image, packages, names, reference)
        found = engine.image(reference)
    if found is None:
        raise BottleFailed(f"the image {reference} was removed while it was needed", hint="try again")
    return replace(image, id=found["Id"])


def _make(engine: Engine, image: Image, packages: Sequence[str], names: Names, reference: str) -> None:
    name = f"{names.container}-packages"
    options = [
        *(f"--name={name}", f"--label={names.label}", "--init", "--network=none", f"--dns={RESOLVER_ADDRESS}"),
        *("--dns-search=.", "--no-healthcheck", "--pull=never", "--user=0:0", "--security-opt=no-new-privileges"),
        *("--cap-drop=ALL", *(f"--cap-add={one}" for one in _CAPABILITIES), "--entrypoint=/bin/sh"),
    ]
    engine.change(["create", *options, image.id, "-c", f"exec sleep {_DEADLINE:g}"])
    try:
        engine.change(["start", name])
        _install(engine, name, packages, private_directory(names.stage / "packages"))
        user = (engine.image(image.id) or {"Config": {}})["Config"].get("User") or ""
        changes = [f"--change=LABEL {STAGE_LABEL}=", f"--change=USER {user or 0}", "--change=ENTRYPOINT []"]
        engine.change(["commit", *changes, name, reference], deadline_seconds=_DEADLINE)
    finally:
        engine.call(["rm", "--force", "--volumes", name])


def _install(engine: Engine, name: str, packages: Sequence[str], folder: Path) -> None:
    pid = first_process(engine, name)
    namespace = Path(f"/proc/{pid}/ns/net")
    with launch_gateway(folder, folder / "network.log", Rules(), namespace=namespace) as gateway:
        gateway.attach_to_process(pid)
        done = engine.run(
            ["exec", "--user=0:0", "--workdir=/", name, "/bin/sh", "-c", _INSTALL, "sh", *packages],
            deadline_seconds=_DEADLINE,
            check=False,
        )
    if done.exit_code != 0:
        said = done.stderr[-_SHOWN:].decode(errors="replace").strip()
        raise BottleFailed(
            f"the packages {', '.join(packages)} could not be installed: {said}",
            hint="check their names in the manifest, and the network of this host",
        )
