"""The inside of a container, as provisioning sees it."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from claude_bottle.backend.archive_entry import without_owner
from claude_bottle.backend.docker.account import Account
from claude_bottle.backend.docker.engine import Engine, failed
from claude_bottle.backend.guest_output import GuestOutput
from claude_bottle.backend.interface import Steps
from claude_bottle.errors import BottleFailed
from claude_bottle.provision.batch import CARRY_OUT, Batch
from pyro_mcp.errors import DeadlineExceeded, HostCommandFailed

_DEADLINE = 600.0
_SHOWN = 2000


class ContainerGuest:
    """A running container; what is copied in belongs to its root."""

    def __init__(self, engine: Engine, container: str, account: Account) -> None:
        self.home = account.home
        self._engine = engine
        self._container = container
        self._account = account

    def copy_in(self, source: str, target: str) -> None:
        """Copy a file or a folder of the host to `target`, which is its new name, and replace a file there.

        A link is copied as a link. Owners and modes are not copied, except that an executable file stays executable.
        """
        self._extract(lambda archive: archive.add(source, target.lstrip("/"), filter=without_owner))

    def write(self, files: Mapping[str, tuple[int, bytes]]) -> None:
        """Write these files: path → mode, content."""

        def add(archive: tarfile.TarFile) -> None:
            for path, (mode, content) in files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.mode, entry.size = mode, len(content)
                archive.addfile(entry, io.BytesIO(content))

        self._extract(add)

    def give_folder(self, path: str) -> None:
        """Make the agent's user the owner of a folder, but not of what is in it."""
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        entry.uid, entry.gid = self._account.uid, self._account.gid
        self._extract(lambda archive: archive.addfile(entry))

    def carry_out(self, batch: Batch) -> None:
        """Do the steps of a batch in two round trips."""
        self._unpack(batch.archive())
        self.run(["/bin/sh", "-c", CARRY_OUT])

    def give_home(self, steps: Steps) -> None:
        """Make the agent's user the owner of all that is in its home."""
        if self._account.uid != 0:
            steps.run(["chown", "-R", f"{self._account.uid}:{self._account.gid}", self.home])

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> bytes:
        """Run a program to its end as root and return its standard output; raises when its exit code is not 0."""
        words = ["exec", "--interactive", "--user=0:0", "--env=HOME=/root", "--workdir=/", self._container, *argv]
        output = GuestOutput(argv[0])
        try:
            found = self._engine.run(words, stdin=stdin, deadline_seconds=_DEADLINE, on_stdout=output.take, check=False)
        except DeadlineExceeded as error:
            raise failed(error, f"{argv[0]} in the container") from error
        if found.exit_code != 0:
            said = found.stderr[-_SHOWN:].decode(errors="replace").strip()
            raise BottleFailed(f"{argv[0]} failed in the container with exit code {found.exit_code}: {said}")
        return output.content

    def _extract(self, add: Callable[[tarfile.TarFile], None]) -> None:
        """Let the daemon unpack what `add` puts into an archive, at the root folder of the container."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                add(archive)
            file.seek(0)
            self._unpack(file)

    def _unpack(self, archive: IO[bytes]) -> None:
        try:
            self._engine.call(["cp", "-", f"{self._container}:/"], stdin=archive, deadline_seconds=_DEADLINE)
        except (HostCommandFailed, DeadlineExceeded) as error:
            raise failed(error, "a file could not be copied into the container") from error
