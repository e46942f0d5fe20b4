"""The mirror of an upstream: the guest fetches from it, and pushes are compared with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from claude_bottle.errors import UpstreamFailed
from claude_bottle.gate.git import Repository, common_folder, lines_of, local_program, upstream_git
from claude_bottle.gate.remotes import Remote
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed, InvalidRequest, PyroError
from pyro_mcp.host.files import private_directory

_FETCH_SECONDS = 300.0
_SERVED_SECONDS = 600.0
_SHOWN = 400


class Mirror:
    """A bare copy of an upstream's branches and tags; made by the first `refresh`."""

    def __init__(self, folder: Path, remote: Remote, *, fresh_seconds: float) -> None:
        self.remote = remote
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._refreshed = float("-inf")
        self._has_head = False
        private_directory(folder)
        self.repository = Repository.create(folder / "mirror.git")

    def refresh(self, *, now: bool = False) -> None:
        """Fetch from the upstream, unless the mirror is recent enough; raise `UpstreamFailed`.

        A refresh that fails leaves the mirror as it was.
        """
        with self._lock:
            if not now and time.monotonic() - self._refreshed < self._fresh_seconds:
                return
            refspecs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
            options = ["--quiet", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"]
            options += ["--no-auto-maintenance", "--force", "--refmap="]
            self.upstream(["fetch", *options, *self._program("upload-pack"), "--", self.remote.address, *refspecs])
            if not self._has_head or not self.repository.succeeds("rev-parse", "--verify", "--quiet", "HEAD"):
                self._follow_head()
            self._refreshed = time.monotonic()

    def upstream(self, arguments: list[str], *, repository: Repository | None = None) -> str:
        """Run a git command that talks to the upstream, in the mirror or another repository; return its output."""
        writable = [self.repository.folder, *([repository.folder] if repository else [])]
        try:
            if self.remote.transport == "file" and "push" in arguments:
                writable.append(common_folder(self.remote.address))
            done = upstream_git(
                arguments,
                folder=(repository or self.repository).folder,
                transport=self.remote.transport,
                writable=writable,
                seconds=_FETCH_SECONDS,
            )
        except (HostCommandFailed, DeadlineExceeded) as error:
            raise UpstreamFailed(_reason(error)) from error
        return done.stdout.decode(errors="replace")

    def push_program(self) -> list[str]:
        """Return the options that start git in a local upstream so that nothing of its content runs."""
        return self._program("receive-pack", "receive.denyCurrentBranch=refuse", "receive.denyDeletes=true")

    def advertise(self, service: str, protocol: str) -> bytes:
        """Return git's answer to a request for the refs of a service, without its first line."""
        return self.repository.git(
            service, "--stateless-rpc", "--http-backend-info-refs", str(self.repository.folder), protocol=protocol
        )

    def serve(self, request: IO[bytes], protocol: str, answer: Callable[[bytes], object]) -> None:
        """Answer a request of a fetch in pieces, as git makes them."""
        self.repository.git(
            "upload-pack",
            "--stateless-rpc",
            str(self.repository.folder),
            stdin=request,
            on_stdout=answer,
            protocol=protocol,
            seconds=_SERVED_SECONDS,
        )

    def _program(self, name: str, *settings: str) -> list[str]:
        return [f"--{name}={local_program(name, *settings)}"] if self.remote.transport == "file" else []

    def _follow_head(self) -> None:
        """Set HEAD to the default branch of the upstream, which a clone checks out."""
        listed = self.upstream(["ls-remote", "--symref", *self._program("upload-pack"), self.remote.address, "HEAD"])
        for line in lines_of(listed.encode()):
            target, _, name = line.removeprefix("ref: ").partition("\t")
            if line.startswith("ref: refs/heads/") and name == "HEAD":
                self.repository.git("symbolic-ref", "HEAD", target)
        self._has_head = True


def _reason(error: PyroError) -> str:
    """Return what git said, for the guest: one line without the command line of the host."""
    if isinstance(error, DeadlineExceeded):
        return f"the upstream did not answer within {_FETCH_SECONDS:g} s"
    lines = [line.strip() for line in error.message.splitlines()[1:] if line.strip()]
    wanted = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ssh:", "!"))] or lines
    return " ".join(wanted)[:_SHOWN] or "git failed without a message"


def require_protocol(given: str) -> str:
    """Return the value of the header `Git-Protocol` if it is one that git's clients send."""
    if given not in ("", "version=2", "version=1", "version=0"):
        raise InvalidRequest("the header Git-Protocol has an unknown value")
    return given
