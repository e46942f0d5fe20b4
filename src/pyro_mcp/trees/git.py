"""Run git on the host to compute diffs and patches, in a temporary bare repository.

No name from a guest becomes a file name on the host: contents and names go in as a stream, and text comes out. Git uses
no configuration of the user or the host, no attributes, filters, hooks or external programs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import HostCommandFailed, InvalidRequest
from pyro_mcp.guest_protocol.tree_stream import Kind
from pyro_mcp.hints import Hint, Verb
from pyro_mcp.host.files import temporary_folder
from pyro_mcp.host.process import Limits, run

_DEADLINE = 120.0
# The input of git is untrusted: some KB of it can make git use gigabytes.
_LIMITS = Limits(memory_bytes=1 << 30, cpu_seconds=60, file_bytes=512 << 20)
_OVER_LIMITS = re.compile(r"out of memory|cannot allocate memory|file too large|SIGXCPU|SIGXFSZ", re.IGNORECASE)
_HEAD = "ref: refs/heads/none\n"
_CONFIG = """\
[core]
\trepositoryFormatVersion = 0
\tbare = true
\tfsync = none
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\thooksPath = /dev/null
\tquotePath = true
[fastImport]
\tunpackLimit = 0
[diff]
\trenameLimit = 400
[gc]
\tauto = 0
"""
_LONGEST_PATH = 4096  # PATH_MAX, with its NUL
_COMMITTER = b"pyro <pyro> 0 +0000"

# Git refuses these names at any depth, whatever the letters' case: verify_path() in its read-cache.c.
_REFUSED = re.compile(rb"(\.git|git~1)[. ]*(:.*)?", re.IGNORECASE | re.DOTALL)
_REFUSED_LINKS = re.compile(rb"(\.gitmodules[. ]*(:.*)?|gi[t7][a-z0-9]*~[0-9].*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Blob:
    """The mode of a path (a file, an executable file or a link) and its content."""

    mode: bytes
    data: bytes


@dataclass(frozen=True)
class GitChange:
    """One change in git's raw diff output. `status` is one of A C D M R T; `old_path` is set for C and R."""

    status: str
    old_mode: bytes
    new_mode: bytes
    old_id: bytes
    new_id: bytes
    path: bytes
    old_path: bytes | None


@dataclass(frozen=True)
class Repository:
    """An empty bare repository."""

    folder: Path

    def git(self, *arguments: str, stdin: bytes | None = None, work_tree: Path | None = None) -> bytes:
        """Run one git command, which may read the files of `work_tree`; return its output.

        Raises `HostCommandFailed` with git's message, `InvalidRequest` when git exceeds its memory or time limit.
        """
        environment = {
            "GIT_DIR": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_OPTIONAL_LOCKS": "0",
        }
        if work_tree is not None:
            environment["GIT_WORK_TREE"] = str(work_tree)
        try:
            done = run(
                ["git", *arguments],
                deadline_seconds=_DEADLINE,
                stdin=stdin,
                extra_environment=environment,
                limits=_LIMITS,
            )
        except HostCommandFailed as error:
            if not _OVER_LIMITS.search(error.message):
                raise
            raise InvalidRequest(
                f"this needs more than git may use on the host: {_LIMITS.memory_bytes >> 20} MiB of memory, "
                f"{_LIMITS.cpu_seconds} s of processor time",
                hint=Hint("divide it into smaller parts; {} copies large files", Verb("workspace sync push")),
            ) from error
        return done.stdout

    def import_trees(self, trees: Mapping[str, Mapping[bytes, Blob]]) -> None:
        """Make a branch of each tree; the keys are the branch names."""
        self.git("fast-import", "--quiet", stdin=b"".join(_import_stream(trees)))

    def blobs(self, ids: Sequence[bytes]) -> Iterator[bytes]:
        """Yield the contents of the blobs with these ids."""
        output = self.git("cat-file", "--batch", stdin=b"".join(b"%b\n" % id_ for id_ in ids))
        at = 0
        for _ in ids:
            start = output.index(b"\n", at) + 1
            size = int(output[at : start - 1].split(b" ")[2])
            yield output[start : start + size]
            at = start + size + 1

    def exclude(self, rules: Iterable[bytes]) -> None:
        """Set the ignore rules of the repository; each is a line of a `.gitignore`."""
        info = self.folder / "info"
        info.mkdir(exist_ok=True)
        (info / "exclude").write_bytes(b"".join(b"%b\n" % rule for rule in rules))

    def treat_as_binary(self, paths: list[bytes]) -> None:
        """Make git write the diffs of these paths in its binary format."""
        info = self.folder / "info"
        info.mkdir(exist_ok=True)
        lines = [b'"/%b" -diff\n' % quoted(re.sub(rb"[\\*?\[]", rb"\\\g<0>", path)) for path in paths]
        (info / "attributes").write_bytes(b"".join(lines))


@contextmanager
def bare_repository() -> Iterator[Repository]:
    """Make a repository that exists during the block. `git init` would take longer than the work itself."""
    with temporary_folder() as folder:
        (folder / "objects").mkdir()
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text(_HEAD)
        (folder / "config").write_text(_CONFIG)
        yield Repository(folder)


def is_git_internal(path: bytes) -> bool:
    """Return whether a path is in a `.git`, which git reserves for itself."""
    return b".git" in path.split(b"/")


def is_refused_name(name: bytes) -> bool:
    """Return whether a name is `.git`, or equal to `.git` on some file system."""
    return bool(_REFUSED.fullmatch(name))


def is_representable(path: bytes, kind: Kind) -> bool:
    """Return whether git can represent a path of this kind."""
    names = path.split(b"/")
    if kind not in "fl" or len(path) >= _LONGEST_PATH or any(is_refused_name(name) for name in names):
        return False
    return kind != "l" or not any(_REFUSED_LINKS.fullmatch(name) for name in names)


def git_mode(kind: Kind, mode: int) -> bytes:
    """Return git's mode for a file or link; of a file's mode git keeps only whether the owner may execute it."""
    if kind == "l":
        return b"120000"
    return b"100755" if mode & 0o100 else b"100644"


def quoted(path: bytes) -> bytes:
    """Return a path with git's escapes, without the quotes around it."""
    return b"".join(b"\\%03o" % byte if byte < 32 or byte >= 127 or byte in b'"\\' else bytes([byte]) for byte in path)


def parse_raw_changes(output: bytes) -> tuple[list[GitChange], bytes]:
    """Parse `--raw -z` output; return the changes, and the text after them."""
    changes = []
    at = 0

    def word() -> bytes:
        nonlocal at
        end = output.index(b"\0", at)
        at, found = end + 1, output[at:end]
        return found

    while output[at : at + 1] == b":":
        old_mode, new_mode, old_id, new_id, status = word()[1:].split(b" ")
        old_path = word() if status[:1] in b"CR" else None
        changes.append(GitChange(status[:1].decode(), old_mode, new_mode, old_id, new_id, word(), old_path))
    return changes, output[at:].removeprefix(b"\0")


def _import_stream(trees: Mapping[str, Mapping[bytes, Blob]]) -> Iterator[bytes]:
    marks: dict[bytes, int] = {}
    commits = []
    for name, tree in trees.items():
        commits.append(b"commit refs/heads/%b\ncommitter %b\ndata 0\n" % (name.encode(), _COMMITTER))
        for path, blob in tree.items():
            if blob.data not in marks:
                marks[blob.data] = len(marks) + 1
                yield b"blob\nmark :%d\ndata %d\n%b\n" % (marks[blob.data], len(blob.data), blob.data)
            commits.append(b'M %b :%d "%b"\n' % (blob.mode, marks[blob.data], quoted(path)))
    yield from commits
