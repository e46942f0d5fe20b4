"""A workspace's tree, seen from the host: walked, compared and changed by the guest's tool."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Literal, Protocol

from pyro_mcp.errors import Conflict, GuestFailed, InvalidRequest, NotFound, ProtocolViolation
from pyro_mcp.guest_protocol.tree_edits import Edit, encode_edits
from pyro_mcp.guest_protocol.tree_stream import Applied, Changed, Changes, Receiver, TreeEntry, Walk
from pyro_mcp.hints import Hint, Verb

WORKSPACE = "/workspace"
View = Literal["merged", "baseline"]
_ARGUMENT_BYTES = 256 * 1024
_EVERYTHING = (1 << 63) - 1
_MOST_HELD = 256 * 1024 * 1024

# How the guest's C library words what a caller can do something about.
_EXPLAINED = {
    "Invalid cross-device link": "a link on the way to it leads out of /workspace",
    "Too many levels of symbolic links": "the links on the way to it never end",
    "Is a directory": "there is a folder",
    "Not a directory": "something on the way to it is not a folder",
    "File exists": "something else has that name",
    "File name too long": "a name holds at most 255 bytes, a path 4,096",
}


class GuestToolRunner(Protocol):
    """Runs the tool in the guest to its end.

    Raises `NotFound`, `NoSpace` or `GuestFailed` with what the tool complained of.
    """

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None: ...


class GuestTree:
    """The tree of one workspace. The folders are those of a guest; tests give their own.

    Every method raises what the runner raises, `ProtocolViolation` when the tool misbehaves, and `InvalidRequest`
    for what the tree does not allow.
    """

    def __init__(
        self,
        run: GuestToolRunner,
        *,
        merged: str = "/root/workspace",
        baseline: str = "/baseline",
        upper: str = "/disk/workspace/upper",
        top: str = WORKSPACE,
    ) -> None:
        self._run = run
        self._top = top
        self._roots: dict[View, str] = {"merged": merged, "baseline": baseline}
        self._upper = upper

    @property
    def listing(self) -> Verb:
        """The verb that lists the files of this tree."""
        return Verb(f"workspace {'file' if self._top == WORKSPACE else 'disk'} list")

    def inner_path(self, path: str | bytes) -> bytes:
        """The path within the tree of a guest path; raises `InvalidRequest` where it leaves the tree."""
        return inner_path(path, self._top)

    def guest_path(self, inner: bytes) -> str:
        """The path as the guest knows it."""
        return guest_path(inner, self._top)

    def walk(
        self,
        receiver: Receiver,
        paths: Sequence[bytes],
        *,
        view: View = "merged",
        depth: int | None = None,
        content: int | None = 0,
        follow: bool = False,
        skip_missing: bool = False,
        owners: bool = False,
        start: int = 0,
        on_hole: Callable[[int], None] | None = None,
        on_unlisted: Callable[[bytes], None] | None = None,
    ) -> None:
        """Pass each path to `receiver`, and what is below it to `depth` (None: all of it).

        `content` is how many bytes of each file come along (None: all of it), from byte `start` on. With `on_hole` that
        gets the sizes of holes, of which no data comes. `on_unlisted` gets the folders that lie too deep to be listed;
        without it they raise `InvalidRequest`. A path that is not there raises `NotFound`
        unless `skip_missing`. With `owners` entries have their owner, and other file systems are not entered.
        """
        most = _EVERYTHING if content is None else content
        options = ["walk"]
        options += ["--depth", str(depth)] if depth is not None else []
        options += ["--content", str(most)] if most else []
        options += ["--follow"] if follow else []
        options += ["--skip-missing"] if skip_missing else []
        options += ["--owners"] if owners else []
        options += ["--from", str(start)] if start else []
        options += ["--holes"] if on_hole is not None else []
        for batch in _batches(paths):
            asked = _CheckedReceiver(batch, depth, receiver)
            walk = Walk(asked, most, on_hole=on_hole, on_unlisted=on_unlisted)
            with self._translated_errors():
                self._run([*options, self._roots[view], *batch], on_stdout=walk.feed)
            walk.finish()
            if not skip_missing:
                asked.finish()

    def contents(
        self,
        paths: Sequence[bytes],
        limit: int,
        *,
        view: View = "merged",
        follow: bool = False,
        skip_missing: bool = False,
        start: int = 0,
    ) -> dict[bytes, tuple[TreeEntry, bytes]]:
        """Read what is at each of the paths, with at most `limit` bytes of files (0: none) from byte `start` on."""
        found = _CollectingReceiver()
        self.walk(
            found, paths, view=view, depth=0, content=limit, follow=follow, skip_missing=skip_missing, start=start
        )
        return {path: (entry, bytes(data)) for path, (entry, data) in found.all.items()}

    def entries(self, paths: Sequence[bytes], *, depth: int | None, skip_missing: bool = False) -> list[TreeEntry]:
        """What is at and below the paths, each once."""
        found = _CollectingReceiver()
        self.walk(found, paths, depth=depth, skip_missing=skip_missing)
        return [entry for entry, _ in found.all.values()]

    def changes(self) -> Changes:
        """Find what differs from the baseline, in the order of a walk; the cost grows with what has changed."""
        found = Changes()
        with self._translated_errors():
            self._run(["changes", self._upper, self._roots["baseline"], self._roots["merged"]], on_stdout=found.feed)
        found.finish()
        return found

    def apply(self, edits: Iterable[Edit]) -> list[Changed]:
        """Make all the edits in their order, or none; what was made, one for each."""
        made = Applied()
        paths: list[bytes] = []

        def noted() -> Iterator[Edit]:
            for edit in edits:
                paths.append(edit.path)
                yield edit

        with _piped(encode_edits(noted())) as stdin, self._translated_errors():
            self._run(["apply", self._roots["merged"]], stdin=stdin, on_stdout=made.feed)
        made.finish()
        if [one.path for one in made.made] != paths:
            raise ProtocolViolation("the guest's tool did not answer each edit")
        return made.made

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Put what the tool complained of into our own errors and words: it says "PATH: reason"."""
        try:
            yield
        except NotFound as error:
            path = error.message.rpartition(":")[0]
            raise NotFound(
                f"there is no {posixpath.join(self._top, path)}", hint=Hint("{} shows the files", self.listing)
            ) from error
        except ProtocolViolation:
            raise
        except GuestFailed as error:
            path, _, reason = error.message.rpartition(": ")
            if reason not in _EXPLAINED:
                raise
            raise InvalidRequest(f"{posixpath.join(self._top, path)}: {_EXPLAINED[reason]}") from error


class _CheckedReceiver:
    """Passes on only what was asked for, and each thing once unless it was asked for by itself among others."""

    def __init__(self, paths: Sequence[bytes], depth: int | None, receiver: Receiver) -> None:
        self._wanted = set(paths)
        self._depth = depth
        self._seen: set[bytes] = set()
        self.data = receiver.data
        self.file_end = receiver.file_end
        self._receiver = receiver

    def entry(self, entry: TreeEntry) -> None:
        again = entry.path in self._seen and (len(self._wanted) == 1 or entry.path not in self._wanted)
        if again or not self._is_wanted(entry.path):
            raise ProtocolViolation(f"the guest's tool named {entry.path[:200]!r}, which was not due")
        self._seen.add(entry.path)
        self._receiver.entry(entry)

    def finish(self) -> None:
        """Raise `ProtocolViolation` unless all that was asked for came."""
        if not self._wanted <= self._seen:
            raise ProtocolViolation("the guest's tool left out what was asked for")

    def _is_wanted(self, path: bytes) -> bool:
        above = 0
        while path not in self._wanted:
            above += 1
            if not path or (self._depth is not None and above > self._depth):
                return False
            path = posixpath.dirname(path)
        return True


class _CollectingReceiver:
    """A receiver that keeps everything, within reason."""

    def __init__(self) -> None:
        self.all: dict[bytes, tuple[TreeEntry, bytearray]] = {}
        self._last = bytearray()
        self._bytes = 0

    def entry(self, entry: TreeEntry) -> None:
        self._last = bytearray()
        self.all[entry.path] = (entry, self._last)

    def data(self, piece: bytes) -> None:
        self._last += piece
        self._bytes += len(piece)
        if self._bytes > _MOST_HELD:
            raise InvalidRequest(f"that would hold more than {_MOST_HELD} bytes of files in memory")

    def file_end(self) -> None:
        pass


def inner_path(path: str | bytes, top: str = WORKSPACE) -> bytes:
    """Return the path within the tree of a guest path, given from / or from /workspace; raises `InvalidRequest`."""
    try:
        given = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{path!r} cannot be a path: {error.reason}") from error
    if b"\0" in given:
        raise InvalidRequest("a path cannot hold a NUL byte")
    root = top.encode()
    whole = posixpath.normpath(posixpath.join(WORKSPACE.encode(), given)).replace(b"//", b"/", 1)
    if whole != root and not whole.startswith(root.rstrip(b"/") + b"/"):
        raise InvalidRequest(
            f"{os.fsdecode(given)} is outside {top}", hint=f"give a path below {top}, or relative to it"
        )
    return whole[len(root.rstrip(b"/")) + 1 :]


def guest_path(inner: bytes, top: str = WORKSPACE) -> str:
    """The path as a person writes it: below `top`."""
    return posixpath.join(top, os.fsdecode(inner)) if inner else top


def folders_above(path: bytes) -> Iterator[bytes]:
    """The folders on the way to a path, without the root."""
    while path := posixpath.dirname(path):
        yield path


def _batches(paths: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The paths in groups that fit on a command line."""
    batch: list[bytes] = []
    size = 0
    for path in paths:
        if batch and size + len(path) > _ARGUMENT_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += len(path) + 16
    if batch:
        yield batch


@contextmanager
def _piped(pieces: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """A pipe's end from which the pieces can be read as they are made; what goes wrong in making them is raised here.

    The one that reads may stop early. The stream then ends without its last piece, so nothing is applied by halves.
    """
    reading, writing = os.pipe()
    failures: list[Exception] = []

    def write() -> None:
        try:
            with suppress(BrokenPipeError), open(writing, "wb") as sink:
                sink.writelines(pieces)
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that waits for this one
            failures.append(error)

    writer = threading.Thread(target=write, daemon=True)
    with open(reading, "rb", buffering=0) as source:
        writer.start()
        complaint: Exception | None = None
        try:
            yield source
        except Exception as error:  # noqa: BLE001 - raised below, unless it is only the echo of ours
            complaint = error
    writer.join()
    for failure in failures:
        if isinstance(failure, ValueError):
            raise Conflict(f"a file changed while it was read: {failure}", hint="try again") from failure
        raise failure
    if complaint is not None:
        raise complaint
