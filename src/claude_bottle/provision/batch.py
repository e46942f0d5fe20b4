"""Steps of provisioning that are gathered first: the guest gets them in one archive, and executes them together."""

from __future__ import annotations

import io
import shlex
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from claude_bottle.backend.archive_entry import without_owner

FOLDER = "/usr/local/lib/claude-bottle/steps"
"""The folder of the guest that the archive makes; only root can read it."""
CARRY_OUT = f'/bin/sh {FOLDER}/all; code=$?; rm -rf {FOLDER}; exit "$code"'
"""The shell command for a guest in which the archive was unpacked at the root folder; it removes what was unpacked."""
_IN_MEMORY = 8 * 1024 * 1024
_SHOWN = 200
_BEGIN = f"""
place() {{
    {{ [ -d "${{2%/*}}" ] || mkdir -p "${{2%/*}}"; }} &&
        if [ -d "$1" ]; then mkdir -p "$2" && cp -a "$1/." "$2"; else mv -fT "$1" "$2"; fi
}}
failed() {{
    echo "($1)" >&2
    exit 1
}}
cd {FOLDER} || exit 1
"""


class Batch:
    """The `Steps` of one launch, in their order; files are read when their step is added."""

    def __init__(self, home: str, file: IO[bytes], tar: tarfile.TarFile) -> None:
        self.home = home
        self._file, self._tar = file, tar
        self._lines: list[str] = []
        folder = tarfile.TarInfo(FOLDER.lstrip("/"))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o700
        self._tar.addfile(folder)

    def copy_in(self, source: str, target: str) -> None:
        """Add a copy of a file or a folder of the host."""
        name = str(len(self._lines))
        # A link is stored as a link, so nothing outside of `source` gets in.
        self._tar.add(source, arcname=self._entry(name), filter=without_owner)
        self._add(f"place {name} {shlex.quote(target)}", f"the copy to {target}")

    def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> None:
        """Add a program."""
        name = "/dev/null"
        if stdin:
            name = str(len(self._lines))
            self._write(name, stdin)
        self._add(f"{shlex.join(argv)} <{name}", shlex.join(argv))

    def archive(self) -> IO[bytes]:
        """Return a tar archive to be unpacked at the root folder; afterwards no step can be added."""
        self._write("all", "\n".join([_BEGIN, *self._lines, ""]).encode())
        self._tar.close()
        self._file.seek(0)
        return self._file

    def _add(self, line: str, shown: str) -> None:
        self._lines.append(f"{line} || failed {shlex.quote(shown[:_SHOWN])}")

    def _write(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(self._entry(name))
        entry.size, entry.mode = len(content), 0o600
        self._tar.addfile(entry, io.BytesIO(content))

    @staticmethod
    def _entry(name: str) -> str:
        return f"{FOLDER.lstrip('/')}/{name}"


@contextmanager
def gathering(home: str) -> Iterator[Batch]:
    """Make an empty batch for a guest in which the agent's user has this home."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file, tarfile.open(fileobj=file, mode="w") as tar:
        yield Batch(home, file, tar)
