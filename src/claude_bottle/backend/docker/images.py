"""The image of a bottle: the daemon's own for `oci:` environments, else one imported from our environment."""

from __future__ import annotations

import io
import secrets
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.names import Names
from claude_bottle.backend.guest_output import GuestOutput
from claude_bottle.backend.interface import Say
from claude_bottle.errors import BottleFailed
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.host.files import locked, private_directory, state_home

_OCI = "oci:"
_REPOSITORY = "claude-bottle/environment"
_IMPORTING = "claude-bottle/importing"
_DEADLINE = 1800.0
_AGENT = "agent"
_ROOT = ("", "0", "root", "0:0", "root:root")
_MOST_PASSWD = 1024 * 1024


@dataclass(frozen=True)
class Image:
    """An image that the daemon has, by its id, and the account of the agent in it."""

    id: str
    account: Account


def image_name(environment: str) -> str:
    """Return the name of an environment's image as people should see it."""
    return environment.removeprefix(_OCI) if environment.startswith(_OCI) else f"{_REPOSITORY} (from {environment})"


def ensure_image(engine: Engine, environment: str, names: Names, say: Say) -> Image:
    """Return the image of an environment; pull or make it if the daemon does not have it.

    The agent's account is the image's user; if that is root, it is the user `agent` where the image has one.
    """
    if environment.startswith(_OCI):
        reference = environment.removeprefix(_OCI)
        if reference.startswith("-") or not reference:
            raise InvalidRequest(
                f"{environment!r} names no image", hint="write oci:REFERENCE, for example oci:debian:12"
            )
        if engine.image(reference) is None:
            say(f"pulling {reference}")
            engine.call(["pull", "--quiet", reference], deadline_seconds=_DEADLINE)
    else:
        reference = _imported(engine, environment, say)
    found = engine.image(reference)
    if found is None:
        raise BottleFailed(f"the image {reference} was removed while it was needed", hint="try again")
    user = found["Config"].get("User") or ""
    return Image(found["Id"], account_in(_passwd(engine, found["Id"], names), "" if user in _ROOT else user))


def _imported(engine: Engine, environment: str, say: Say) -> str:
    """Return the image with the root files of one of our environments; make it if it is missing."""
    from pyro_mcp import Pyro  # noqa: PLC0415 - slow to import, and not needed for `oci:`

    say(f"preparing {environment}")
    details = Pyro().pull_environment(environment)
    path, digest = details["path"], details["digest"]
    assert path is not None and digest is not None  # it is installed now
    reference = f"{_REPOSITORY}:{digest.rpartition(':')[2][:32]}"
    if engine.image(reference) is None:
        lock = private_directory(state_home("claude-bottle")) / "import.lock"
        with locked(lock, deadline_seconds=_DEADLINE, what="the import of an environment into docker"):
            if engine.image(reference) is None:
                say(f"importing {environment} into docker")
                changes = [f"--change=ENV {name}={_quoted(value)}" for name, value in details["environ"].items()]
                _import(engine, environment, changes, reference)
    return reference


def _import(engine: Engine, environment: str, changes: list[str], reference: str) -> None:
    """Make the image `reference` of an environment's root files, without a copy on a disk; the caller has the lock.

    When this process is killed, docker takes what it got for the whole archive. So the image has another name until all
    of it was passed on, by which the next import removes it.
    """
    for left in engine.call(["image", "ls", "--format={{.Repository}}:{{.Tag}}", _IMPORTING]).split():
        engine.run(["image", "rm", left], check=False)
    temporary = f"{_IMPORTING}:{secrets.token_hex(8)}"
    with _importer(engine, ["import", *changes, "-", temporary]) as importer:
        said = _pass_on(environment, importer)
    if importer.returncode != 0:
        raise BottleFailed(f"docker cannot import {environment}: {said}")
    engine.call(["tag", temporary, reference])
    engine.run(["image", "rm", temporary], check=False)


@contextmanager
def _importer(engine: Engine, words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a docker that reads an archive, and kill it when its time is over or the block ends."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with engine.start(words, **streams) as importer:
        in_time = threading.Timer(_DEADLINE, importer.kill)
        in_time.daemon = True
        in_time.start()
        try:
            yield importer
        finally:
            in_time.cancel()
            importer.kill()


def _pass_on(environment: str, importer: subprocess.Popen[bytes]) -> str:
    """Write the root files of an environment to a program, wait for its end, and return what it said of an error."""
    from pyro_mcp import Pyro  # noqa: PLC0415 - slow to import

    assert importer.stdin is not None and importer.stderr is not None
    with suppress(BrokenPipeError):  # then docker says why it ended
        Pyro().export_environment(environment, output=importer.stdin)
    with suppress(BrokenPipeError):
        importer.stdin.close()
    said = importer.stderr.read().decode(errors="replace").strip()
    importer.wait()
    return said or "it was killed after its time was over" if importer.returncode < 0 else said


def account_in(passwd: str, user: str) -> Account:
    """Return the account of a user of an image: `NAME` or `UID`, also with `:GROUP`; "" is the agent's, or root's.

    Raises `BottleFailed` when the image has no such user.
    """
    name, _, group = user.partition(":")
    found: dict[str, Account] = {}
    for line in reversed(passwd.splitlines()):
        fields = line.split(":")
        if len(fields) == 7 and fields[2].isdigit() and fields[3].isdigit():
            home = fields[5].rstrip("/") if fields[5].startswith("/") else ""
            account = Account(fields[0], int(fields[2]), int(fields[3]), home or _home(fields[0], int(fields[2])))
            found |= {fields[0]: account, fields[2]: account}
    if not user:
        return found.get(_AGENT) or found.get("root") or Account("root", 0, 0, "/root")
    if name not in found and not name.isdigit():
        raise BottleFailed(
            f"the image says that its programs run as {user!r}, a user that it does not have",
            hint="correct USER in the image's Dockerfile, or add that user",
        )
    account = found[name] if name in found else Account("", int(name), 0, _home("", int(name)))
    return replace(account, gid=int(group)) if group.isdigit() else account


def _home(name: str, uid: int) -> str:
    """Return the home of a user that the image gives none: the root folder cannot be given to a user."""
    return "/root" if uid == 0 else f"/home/{name or uid}"


def _passwd(engine: Engine, image: str, names: Names) -> str:
    """Return the /etc/passwd of an image, "" when it has none; no program of the image runs for that."""
    probe = f"{names.container}-probe"
    engine.change(["create", f"--name={probe}", f"--label={names.label}", "--network=none", image, "/bin/sh"])
    try:
        output = GuestOutput("the list of users", _MOST_PASSWD)
        found = engine.run(["cp", "--follow-link", f"{probe}:/etc/passwd", "-"], on_stdout=output.take, check=False)
    except BottleFailed:
        return ""
    finally:
        engine.call(["rm", "--force", "--volumes", probe])
    if found.exit_code != 0:
        return ""
    with tarfile.open(fileobj=io.BytesIO(output.content)) as archive:
        entry = archive.next()
        content = archive.extractfile(entry) if entry is not None and entry.isreg() else None
        return "" if content is None else content.read().decode(errors="replace")


def _quoted(value: str) -> str:
    """Return a value as an `ENV` of a Dockerfile takes it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
