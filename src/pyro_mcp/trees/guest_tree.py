"""Walk, compare and change the file tree of a workspace from the host, by way of the guest tool."""

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
_MAX_HELD = 256 * 1024 * 1024

# Error texts of the guest's C library that a caller can act on, in plainer words.
_EXPLANATIONS = {
    "Invalid cross-device link": "a link in the path leads out of /workspace",
    "Too many levels of symbolic links": "the links in the path form a loop",
    "Is a directory": "a folder is at this path",
    "Not a directory": "a part of the path is not a folder",
    "File exists": "something else is at this path",
    "File name too long": "a name has at most 255 bytes, a path 4,096",
}


class GuestToolRunner(Protocol):
    """Runs the guest tool until it exits.

    Raises `NotFound`, `NoSpace` or `GuestFailed` with the error message of the tool.
    """

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None: ...


class GuestTree:
    """The file tree of one workspace. The default folders are those of a machine; other backends pass their own.

    `merged` is the tree, and `baseline` its first content. `upper` has the files written since then, if `merged` is an
    overlay of them on `baseline`. If `upper` is None, `changes` compares the two folders completely.

    Every method raises what the runner raises, `ProtocolViolation` when the tool breaks the protocol, and
    `InvalidRequest` for operations that the tree does not allow.
    """

    def __init__(
        self,
        run: GuestToolRunner,
        *,
        merged: str = "/root/workspace",
        baseline: str = "/baseline",
        upper: str | None = "/disk/workspace/upper",
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
        """Return the path within the tree of a guest path; raises `InvalidRequest` for a path outside the tree."""
        return inner_path(path, self._top)

    def guest_path(self, inner: bytes) -> str:
        """Return the guest path of a path within the tree."""
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
        """Pass the entries at each path, and below it to `depth` (None: without limit), to `receiver`.

        `content` is how many bytes of each file are sent (None: all), from byte `start` on. `on_hole` is called with
        the sizes of holes, for which no data is sent. `on_unlisted` is called with the folders that are nested too deep
        to be listed; without it they raise `InvalidRequest`. A missing path raises `NotFound` unless `skip_missing`.
        With `owners`, entries have their owner, and other file systems are not entered.
        """
        max_content = _EVERYTHING if content is None else content
        options = ["walk"]
        options += ["--depth", str(depth)] if depth is not None else []
        options += ["--content", str(max_content)] if max_content else []
        options += ["--follow"] if follow else []
        options += ["--skip-missing"] if skip_missing else []
        options += ["--owners"] if owners else []
        options += ["--from", str(start)] if start else []
        options += ["--holes"] if on_hole is not None else []
        for batch in _batches(paths):
            checked = _CheckedReceiver(batch, depth, receiver)
            walk = Walk(checked, max_content, on_hole=on_hole, on_unlisted=on_unlisted)
            with self._translated_errors():
                self._run([*options, self._roots[view], *batch], on_stdout=walk.feed)
            walk.finish()
            if not skip_missing:
                checked.finish()

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
        """Return the entries at and below the paths, each once."""
        found = _CollectingReceiver()
        self.walk(found, paths, depth=depth, skip_missing=skip_missing)
        return [entry for entry, _ in found.all.values()]

    def changes(self) -> Changes:
        """Return the changes since the baseline, in the order of a walk.

        The cost grows with the number of changes in an overlay, and with the size of both folders without one.
        """
        found = Changes()
        upper = [] if self._upper is None else [self._upper]
        with self._translated_errors():
            self._run(["changes", *upper, self._roots["baseline"], self._roots["merged"]], on_stdout=found.feed)
        found.finish()
        return found

    def apply(self, edits: Iterable[Edit]) -> list[Changed]:
        """Apply all the edits in order, or none; return one result for each edit."""
        applied = Applied()
        paths: list[bytes] = []

        def noting_paths() -> Iterator[Edit]:
            for edit in edits:
                paths.append(edit.path)
                yield edit

        with _piped(encode_edits(noting_paths())) as stdin, self._translated_errors():
            self._run(["apply", self._roots["merged"]], stdin=stdin, on_stdout=applied.feed)
        applied.finish()
        if [one.path for one in applied.made] != paths:
            raise ProtocolViolation("the guest tool did not answer each edit")
        return applied.made

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Translate the error messages of the tool, which have the form "PATH: reason", into our errors."""
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
            if reason not in _EXPLANATIONS:
                raise
            raise InvalidRequest(f"{posixpath.join(self._top, path)}: {_EXPLANATIONS[reason]}") from error


class _CheckedReceiver:
    """Passes on requested entries and raises for others. Only an entry whose own path is requested may come twice."""

    def __init__(self, paths: Sequence[bytes], depth: int | None, receiver: Receiver) -> None:
        self._requested = set(paths)
        self._depth = depth
        self._seen: set[bytes] = set()
        self.data = receiver.data
        self.file_end = receiver.file_end
        self._receiver = receiver

    def entry(self, entry: TreeEntry) -> None:
        again = entry.path in self._seen and (len(self._requested) == 1 or entry.path not in self._requested)
        if again or not self._is_requested(entry.path):
            raise ProtocolViolation(f"the guest tool named {entry.path[:200]!r}, which was not requested")
        self._seen.add(entry.path)
        self._receiver.entry(entry)

    def finish(self) -> None:
        """Raise `ProtocolViolation` unless every requested path was received."""
        if not self._requested <= self._seen:
            raise ProtocolViolation("the guest tool left out a requested path")

    def _is_requested(self, path: bytes) -> bool:
        above = 0
        while path not in self._requested:
            above += 1
            if not path or (self._depth is not None and above > self._depth):
                return False
            path = posixpath.dirname(path)
        return True


class _CollectingReceiver:
    """Collects entries and contents in memory, up to a limit."""

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
        if self._bytes > _MAX_HELD:
            raise InvalidRequest(f"the files have more than {_MAX_HELD} bytes, the limit for one request")

    def file_end(self) -> None:
        pass


def inner_path(path: str | bytes, top: str = WORKSPACE) -> bytes:
    """Return the path within the tree of a guest path, given from / or from /workspace; raises `InvalidRequest`."""
    try:
        given = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{path!r} is not a valid path: {error.reason}") from error
    if b"\0" in given:
        raise InvalidRequest("the path holds a NUL byte")
    root = top.encode()
    whole = posixpath.normpath(posixpath.join(WORKSPACE.encode(), given)).replace(b"//", b"/", 1)
    if whole != root and not whole.startswith(root.rstrip(b"/") + b"/"):
        raise InvalidRequest(
            f"{os.fsdecode(given)} is outside {top}", hint=f"give a path below {top}, or relative to it"
        )
    return whole[len(root.rstrip(b"/")) + 1 :]


def guest_path(inner: bytes, top: str = WORKSPACE) -> str:
    """Return the path below `top`, for messages and results."""
    return posixpath.join(top, os.fsdecode(inner)) if inner else top


def folders_above(path: bytes) -> Iterator[bytes]:
    """Yield the folders that contain a path, nearest first, without the root."""
    while path := posixpath.dirname(path):
        yield path


def _batches(paths: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Yield the paths in groups that fit on a command line."""
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
    """Yield the end of a pipe into which a thread writes the pieces; an error in making them is raised here.

    The reader may stop early. The stream then lacks its last piece, so that the tool applies nothing.
    """
    reading, writing = os.pipe()
    failures: list[Exception] = []

    def write() -> None:
        try:
            with suppress(BrokenPipeError), open(writing, "wb") as sink:
                sink.writelines(pieces)
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits for this one
            failures.append(error)

    writer = threading.Thread(target=write, daemon=True)
    with open(reading, "rb", buffering=0) as source:
        writer.start()
        reader_error: Exception | None = None
        try:
            yield source
        except Exception as error:  # noqa: BLE001 - raised below, unless it only follows from an error of the writer
            reader_error = error
    writer.join()
    for failure in failures:
        if isinstance(failure, ValueError):
            raise Conflict(f"a file changed while it was read: {failure}", hint="try again") from failure
        raise failure
    if reader_error is not None:
        raise reader_error
