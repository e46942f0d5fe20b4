"""The tree of a bottle: two volumes, read by a separate container in which no program of the guest runs.

The container has the guest tool of machines as its only file, no network, a read-only root and one capability. It works
whether the agent runs or has ended. What the tool answers is checked as the answers of a hostile machine are.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.names import Names
from claude_bottle.backend.export_remarks import export_remarks
from claude_bottle.backend.interface import TREE, TreeDiff
from claude_bottle.provision.git_config import config_files
from pyro_mcp.errors import HostCommandFailed, PyroError
from pyro_mcp.host.files import private_directory, state_home, temporary_folder
from pyro_mcp.trees import GuestTree, diff, export, prepare_seed, push_seed, tool_binary, tool_error

_REPOSITORY = "claude-bottle/tool"
_MERGED, _BASELINE = "/tree", "/baseline"
_DEADLINE = 1800.0
# The exit codes of docker itself, when it could not start the tool: docker-run(1), "Exit Status".
_DOCKER_FAILED = range(125, 128)


class Tree:
    """The volumes of one bottle."""

    def __init__(self, engine: Engine, names: Names) -> None:
        self._engine = engine
        self._names = names

    def create(self) -> None:
        """Make both volumes, empty."""
        for volume in (self._names.tree, self._names.baseline):
            self._engine.change(["volume", "create", f"--label={self._names.label}", volume])

    def seed(self, source: Path, owner: Account) -> None:
        """Copy a folder of the host into the empty tree, give it to `owner`, and keep a copy as the baseline."""
        ours = ToolContainer(self._engine, self._names, user=f"{owner.uid}:{owner.gid}", writable=True)
        with temporary_folder() as work:
            left_out = [os.fsencode(path) for path in config_files(source)]
            push_seed(_guest_tree(ours), prepare_seed(source, work, left_out=left_out))
        copier = ToolContainer(
            self._engine, self._names, capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER"), writable=True
        )
        copier(["copy", _MERGED, _BASELINE], on_stdout=lambda _: None)

    def diff(self, *, binary: bool = False) -> TreeDiff:
        """Return what changed since the tree was seeded."""
        return TreeDiff.of(diff(_guest_tree(ToolContainer(self._engine, self._names)), binary=binary))

    def export(self, path: str, target: Path, *, overwrite: bool) -> Sequence[str]:
        """Copy a file or folder to the host; return remarks about it. See `pyro_mcp.trees.export`."""
        state = private_directory(state_home("claude-bottle") / "exports")
        tree = _guest_tree(ToolContainer(self._engine, self._names))
        done = export(tree, path or TREE, target, state=state, overwrite=overwrite)
        return export_remarks(done)


class ToolContainer:
    """A runner of the guest tool: each run has a container of its own, with the volumes of one bottle.

    It implements `pyro_mcp.trees.GuestToolRunner`.
    """

    def __init__(
        self,
        engine: Engine,
        names: Names,
        *,
        user: str = "0:0",
        capabilities: Sequence[str] = ("DAC_OVERRIDE",),
        writable: bool = False,
    ) -> None:
        self._engine = engine
        self._names = names
        access = "" if writable else ",readonly"
        places = {names.tree: _MERGED, names.baseline: _BASELINE}
        mounts = [f"type=volume,source={one},destination={place}{access}" for one, place in places.items()]
        self._options = [
            *("--network=none", "--read-only", "--log-driver=none", "--pull=never", "--cap-drop=ALL"),
            *(f"--cap-add={name}" for name in (capabilities if user == "0:0" else ())),
            *("--security-opt=no-new-privileges", "--pids-limit=16", "--memory=1g", f"--user={user}"),
            *(f"--mount={mount},volume-nocopy" for mount in mounts),
        ]

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None:
        """Run the tool to its end; raise the error that it reports."""
        if stdin is None and not all(_is_utf8(one) for one in arguments):
            # docker passes arguments on in JSON, which has no bytes.
            stdin = b"".join(os.fsencode(one) + b"\0" for one in ("tool", *arguments))
            arguments = ["-"]
        name = f"{self._names.container}-tool-{secrets.token_hex(4)}"
        words = ["run", "--rm", f"--name={name}", f"--label={self._names.label}", *self._options]
        words += ["--interactive", tool_image(self._engine), *map(os.fsdecode, arguments)]
        try:
            ended = self._engine.run(words, stdin=stdin, on_stdout=on_stdout, deadline_seconds=_DEADLINE, check=False)
        except BaseException:
            self._engine.run(["rm", "--force", "--volumes", name], deadline_seconds=_DEADLINE, check=False)
            raise
        if ended.exit_code != 0:
            raise _error(ended.exit_code, ended.stderr)


def tool_image(engine: Engine) -> str:
    """Return the image that has the guest tool and nothing else; make it when it is missing."""
    content = tool_binary().read_bytes()
    reference = f"{_REPOSITORY}:{hashlib.sha256(content).hexdigest()[:16]}"
    if engine.image(reference) is None:
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as archive:
            entry = tarfile.TarInfo("tool")
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))
        engine.call(["import", '--change=ENTRYPOINT ["/tool"]', "-", reference], stdin=written.getvalue())
    return reference


def _is_utf8(argument: str | bytes) -> bool:
    try:
        os.fsencode(argument).decode()
    except UnicodeDecodeError:
        return False
    return True


def _guest_tree(run: ToolContainer) -> GuestTree:
    return GuestTree(run, merged=_MERGED, baseline=_BASELINE, upper=None)


def _error(exit_code: int, stderr: bytes) -> PyroError:
    """Return the error for a failed run of the tool, or of docker."""
    if exit_code in _DOCKER_FAILED or exit_code < 0:
        said = stderr.decode(errors="replace").strip() or exit_code
        return HostCommandFailed(f"docker could not read the tree of the bottle: {said}")
    return tool_error(exit_code, stderr, disk="the disk of the docker daemon")
