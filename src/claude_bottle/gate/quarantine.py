"""The quarantine of one push: a separate repository, whose objects are checked before anything is forwarded."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from claude_bottle.gate.commands import ZERO, Update
from claude_bottle.gate.git import Repository, lines_of
from pyro_mcp.errors import HostCommandFailed, InvalidRequest

_MIB = 1 << 20
_STRICT = "gitattributesSymlink=error,gitignoreSymlink=error,badFilemode=error,nullSha1=error"
_SHOWN = 300
_MOST_CHANGES = 64 * _MIB
_FSCK = re.compile(r"(?:error|fatal): (.*)")


@dataclass(frozen=True)
class PushLimits:
    """The largest push: bytes of its pack, of one file and of all objects unpacked, and the number of objects.

    `paths` bounds the paths that its commits change: a few objects can be at millions of paths. `seconds` bounds the
    checks that start a program for each of some files.
    """

    pack_bytes: int = 64 * _MIB
    file_bytes: int = 16 * _MIB
    unpacked_bytes: int = 128 * _MIB
    objects: int = 50_000
    commits: int = 2_000
    paths: int = 100_000
    seconds: float = 300.0


@dataclass(frozen=True)
class Change:
    """A path that a new commit adds or changes, with its mode and its object."""

    path: bytes
    mode: str
    id: str


class Quarantine:
    """The objects of one push, on top of those of the upstream's mirror."""

    def __init__(self, folder: Path, mirror: Repository, updates: Sequence[Update], limits: PushLimits) -> None:
        self.updates, self._limits, self._mirror = tuple(updates), limits, mirror
        self.repository = Repository.create(folder / "quarantine.git", mirror.folder)
        self._end = time.monotonic() + limits.seconds

    def receive(self, pack: IO[bytes]) -> None:
        """Take the pack of a push into the repository; raise `InvalidRequest` when git, or a limit, refuses it."""
        limits = self._limits
        start = pack.tell()
        head = pack.read(12)
        if len(head) != 12 or head[:4] != b"PACK":
            raise InvalidRequest("the push has no pack")
        if (count := int.from_bytes(head[8:12], "big")) > limits.objects:
            raise InvalidRequest(f"the push has {count} objects; the limit is {limits.objects}")
        pack.seek(start)
        options = ["--stdin", "--fix-thin", f"--strict={_STRICT}", f"--max-input-size={limits.pack_bytes}"]
        try:
            self.repository.git("index-pack", *options, stdin=pack)
        except HostCommandFailed as error:
            raise InvalidRequest(f"git refuses the objects of the push: {_git_reason(error)}") from error

    def check_objects(self) -> None:
        """Raise `InvalidRequest` for missing, hidden or too large objects, and for a push that would lose commits.

        An object of the pack is hidden when no pushed ref leads to it.
        """
        try:
            reachable = self._reachable
        except HostCommandFailed as error:
            raise InvalidRequest("objects of the push are missing: push again from a complete clone") from error
        for one in self.updates:
            if one.old != ZERO and not self.repository.succeeds("merge-base", "--is-ancestor", one.old, one.new):
                raise InvalidRequest(f"{one.ref} would lose commits; force is never allowed: fetch, merge, push again")
            is_branch = one.ref.startswith("refs/heads/")
            if self._kind(one.new if is_branch else f"{one.new}^{{}}") != "commit":  # the checks look at commits alone
                raise InvalidRequest(f"{one.ref} would not {'be' if is_branch else 'name'} a commit")
            if not is_branch and self._kind(one.new) == "tag" and self._kind(self._named_by(one.new)) == "tag":
                raise InvalidRequest(f"{one.ref} would be a tag of a tag, of which a person sees only the outer one")
        packed = self._packed()
        if hidden := packed - set(reachable) - self._known(packed):
            kinds = [kind for kind, _ in self._sizes(hidden).values()]
            found = ", ".join(f"{kinds.count(kind)} of kind {kind}" for kind in sorted(set(kinds)))
            raise InvalidRequest(f"the push has hidden objects, which no pushed ref leads to: {found}")
        self._check_sizes(packed)
        if len(self.new_commits) > self._limits.commits:
            raise InvalidRequest(f"the push has {len(self.new_commits)} commits; the limit is {self._limits.commits}")

    @cached_property
    def new_objects(self) -> dict[str, tuple[str, int]]:
        """The kind and the size of each object that the upstream does not have."""
        return self._sizes(set(self._reachable))

    @cached_property
    def new_commits(self) -> list[str]:
        """The commits that the upstream does not have, newest first."""
        return list(lines_of(self.repository.git("rev-list", "--topo-order", "--stdin", stdin=self._range())))

    @cached_property
    def changes(self) -> list[Change]:
        """What the new commits add or change, each once; in a merge, what differs from all its parents."""
        options = ["--stdin", "-r", "-c", "--raw", "-z", "--root", "--no-commit-id", "--no-renames", "--full-index"]
        given = "".join(f"{one}\n" for one in self.new_commits).encode()
        output, most = bytearray(), self._limits.paths
        ends = 0

        def take(data: bytes) -> None:
            nonlocal ends
            output.extend(data)
            ends += data.count(b"\0")
            if ends > 2 * most or len(output) > _MOST_CHANGES:
                raise InvalidRequest(f"the push changes more than {most} paths: push less at once")

        if given:
            self.repository.git("diff-tree", *options, stdin=given, on_stdout=take)
        return list(dict.fromkeys(_changes(bytes(output))))

    @cached_property
    def not_shown(self) -> list[bytes]:
        """The paths of files whose content is no text for git: a diff says only that they differ."""
        options = ["--stdin", "-r", "-m", "--numstat", "-z", "--root", "--no-commit-id", "--no-renames"]
        options += ["--no-ext-diff", "--no-textconv", "--diff-filter=d"]
        given = "".join(f"{one}\n" for one in self.new_commits).encode()
        output = self.repository.git("diff-tree", *options, stdin=given) if given else b""
        changed = {change.path for change in self.changes}
        rows = (row.split(b"\t", 2) for row in output.split(b"\0") if row)
        return list(dict.fromkeys(path for added, _, path in rows if added == b"-" and path in changed))

    def require_time(self) -> None:
        """Raise `InvalidRequest` when the checks of the push have taken too long."""
        if time.monotonic() > self._end:
            raise InvalidRequest(f"the checks did not end within {self._limits.seconds:g} s: push less at once")

    def path_of(self, id_: str) -> bytes:
        """Return a path of an object in the new commits, "" for one without a path."""
        return self._paths.get(id_, b"")

    def contents(self, ids: Sequence[str], *, into: Path) -> None:
        """Write the objects to a file, each behind a line with its id, its kind and its size."""
        with open(into, "wb") as file:
            given = "".join(f"{one}\n" for one in ids).encode()
            self.repository.git("cat-file", "--batch", stdin=given, on_stdout=file.write)

    def blob(self, id_: str) -> bytes:
        """Return the content of a file."""
        return self.repository.git("cat-file", "blob", id_)

    def read(self, ids: Iterable[str], *, most: int | None = None) -> dict[str, bytes]:
        """Return the content of objects, of those with at most `most` bytes."""
        wanted = set(ids)
        if most is not None:
            wanted = {id_ for id_, (_, size) in self._sizes(wanted).items() if size <= most}
        given = "".join(f"{one}\n" for one in sorted(wanted)).encode()
        output, found, at = self.repository.git("cat-file", "--batch", stdin=given), {}, 0
        while at < len(output):
            end = output.index(b"\n", at)
            id_, _, size = output[at:end].decode().split(" ")
            found[id_] = output[end + 1 : end + 1 + int(size)]
            at = end + 2 + int(size)
        return found

    def base_of(self, update: Update) -> str | None:
        """Return the commit that a person compares an update with: the ref's, else where a new branch begins."""
        if update.old != ZERO:
            return update.old
        try:
            tip = self._mirror.git("rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
            return self.repository.git("merge-base", update.new, tip).decode().strip() or None
        except HostCommandFailed:  # the upstream is empty, or has no common commit
            return None

    @cached_property
    def _paths(self) -> dict[str, bytes]:
        return {change.id: change.path for change in reversed(self.changes)}

    @cached_property
    def _reachable(self) -> list[str]:
        output = self.repository.git("rev-list", "--objects", "--no-object-names", "--stdin", stdin=self._range())
        return list(lines_of(output))

    def _range(self) -> bytes:
        """Return the input of rev-list for all that the upstream does not have."""
        known = sorted(set(self._mirror.refs().values()))
        return "".join([*(f"{one.new}\n" for one in self.updates), *(f"^{one}\n" for one in known)]).encode()

    def _packed(self) -> set[str]:
        found: set[str] = set()
        for index in (self.repository.folder / "objects/pack").glob("*.idx"):
            with open(index, "rb") as file:
                found.update(line.split(" ")[1] for line in lines_of(self.repository.git("show-index", stdin=file)))
        return found

    def _known(self, ids: set[str]) -> set[str]:
        """Return those of the objects that the mirror has: git adds the bases of a thin pack to it."""
        given = "".join(f"{one}\n" for one in sorted(ids)).encode()
        output = self._mirror.git("cat-file", "--batch-check=%(objectname)", stdin=given)
        return {line for line in lines_of(output) if not line.endswith(" missing")}

    def _sizes(self, ids: set[str]) -> dict[str, tuple[str, int]]:
        given = "".join(f"{one}\n" for one in sorted(ids)).encode()
        form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
        rows = (line.split(" ") for line in lines_of(self.repository.git("cat-file", form, stdin=given)))
        return {row[0]: (row[1], int(row[2])) for row in rows}

    def _check_sizes(self, packed: set[str]) -> None:
        limits, sizes = self._limits, self._sizes(packed)
        id_, (_, largest) = max(sizes.items(), key=lambda one: one[1][1], default=("", ("", 0)))
        if largest > limits.file_bytes:
            name = os.fsdecode(self.path_of(id_)) or id_
            raise InvalidRequest(f"{name!r} has {largest >> 20} MiB; the limit is {limits.file_bytes >> 20} MiB")
        if (total := sum(size for _, size in sizes.values())) > limits.unpacked_bytes:
            raise InvalidRequest(
                f"the push has {total >> 20} MiB unpacked; the limit is {limits.unpacked_bytes >> 20} MiB"
            )

    def _named_by(self, tag: str) -> str:
        """Return the object that an annotated tag names."""
        return self.repository.git("cat-file", "tag", tag).split(b"\n", 1)[0].removeprefix(b"object ").decode()

    def _kind(self, id_: str) -> str:
        return self.repository.git("cat-file", "-t", id_).decode().strip()


def _changes(output: bytes) -> Iterator[Change]:
    """Yield the changes in git's raw format, also of merges: `::MODE MODE MODE ID ID ID STATUS`, a NUL, the path."""
    fields = iter(output.split(b"\0"))
    for field in fields:
        if not field:
            continue
        words = field.decode().split(" ")
        parents = len(words[0]) - len(words[0].lstrip(":"))
        mode, id_ = words[parents].lstrip(":"), words[2 * parents + 1]
        path = next(fields)
        if mode != "000000":
            yield Change(path, mode, id_)


def _git_reason(error: HostCommandFailed) -> str:
    """Return what git found wrong, in one line."""
    found = [match[1] for line in error.message.splitlines() if (match := _FSCK.search(line))]
    return "; ".join(found)[:_SHOWN] or "it ended without a message: it may have used too much memory or time"
