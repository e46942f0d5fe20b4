"""Every error that pyro raises on purpose.

    PyroError
    ├── InvalidRequest         the caller asked for something that cannot be
    │   └── UnknownEnvironment
    ├── NotFound               no such vm, workspace, snapshot, file …
    ├── Conflict               it exists, but not in a state that allows this
    │   ├── Busy               somebody else is using it right now
    │   └── TooManyRequests    more than one caller may ask, at once or in some time
    ├── HostNotReady           this machine lacks something; the hint says what to install or change
    │   └── HostToolMissing
    ├── HostCommandFailed      a program we ran on the host failed; the message can be pasted to replay it
    ├── EnvironmentFailed      an environment could not be built, pulled or verified
    ├── GuestFailed            the virtual machine or its agent failed
    │   ├── GuestGone          it ended while we were talking to it
    │   └── ProtocolViolation  it sent bytes that are not the protocol
    ├── DeadlineExceeded       a wait of ours ended without its event
    ├── Interrupted            the caller did not want it any more
    └── NoSpace                a disk is full, on the host or in the guest

`exit_code` is what the command line returns, `code` what crosses a wire, `hint` what to do next.
Libraries raise; only a surface's `main()` prints and exits.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from pyro_mcp.hints import Hint, Verb


class PyroError(Exception):
    """Root of all errors that pyro raises on purpose.

    `message` is one sentence for a person; `hint`, when not empty, says what to do about it. `details` has
    further facts for programs, as JSON values.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, object] = {}

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class InvalidRequest(PyroError):
    exit_code = 2
    code = "invalid_request"


class UnknownEnvironment(InvalidRequest):
    code = "unknown_environment"


class NotFound(PyroError):
    exit_code = 3
    code = "not_found"


class Conflict(PyroError):
    exit_code = 4
    code = "conflict"


class Busy(Conflict):
    code = "busy"


class TooManyRequests(Conflict):
    code = "too_many_requests"


class HostNotReady(PyroError):
    exit_code = 5
    code = "host_not_ready"


class HostToolMissing(HostNotReady):
    code = "host_tool_missing"


class HostCommandFailed(PyroError):
    exit_code = 6
    code = "host_command_failed"


class EnvironmentFailed(PyroError):
    exit_code = 7
    code = "environment_failed"


class GuestFailed(PyroError):
    exit_code = 8
    code = "guest_failed"


class GuestGone(GuestFailed):
    code = "guest_gone"


class ProtocolViolation(GuestFailed):
    code = "protocol_violation"


class DeadlineExceeded(PyroError):
    exit_code = 9
    code = "deadline_exceeded"


class Interrupted(PyroError):
    exit_code = 130
    code = "interrupted"


class NoSpace(PyroError):
    exit_code = 10
    code = "no_space"


# The operating system's errors: which of ours says the same, and what to do about it.
_FREE_SPACE = "free some space there, then try again"
_OF_THE_SYSTEM: dict[int, tuple[type[PyroError], str]] = {
    errno.ENOSPC: (NoSpace, _FREE_SPACE),
    errno.EDQUOT: (NoSpace, _FREE_SPACE),
    errno.EFBIG: (HostNotReady, "raise the limit on file sizes: ulimit -f"),
    errno.EMFILE: (HostNotReady, "raise the limit on open files: ulimit -n"),
    errno.ENFILE: (HostNotReady, "the whole host has too many files open: sysctl fs.file-max"),
    errno.EAGAIN: (HostNotReady, "raise the limit on processes, ulimit -u, or end some"),
    errno.ENOMEM: (HostNotReady, "raise the limit on memory, ulimit -v, or free some"),
    errno.EROFS: (HostNotReady, Hint("{} shows which folders are used", Verb("doctor"))),
    errno.EACCES: (HostNotReady, "change its owner or mode, or choose another path"),
    errno.EPERM: (HostNotReady, "change its owner or mode, or choose another path"),
    errno.EISDIR: (InvalidRequest, "name a file"),
    errno.ENOTDIR: (InvalidRequest, "name a folder"),
    errno.ENOENT: (InvalidRequest, "name one that exists"),
    errno.ELOOP: (InvalidRequest, "its links lead in a circle"),
    errno.ENAMETOOLONG: (InvalidRequest, "choose a shorter name"),
}


@contextmanager
def own_errors() -> Iterator[None]:
    """Turn an `OSError` that leaves the block into a `PyroError`; let `BrokenPipeError` pass."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise own_error(error) from error


def own_error(error: OSError) -> PyroError:
    """Return the `PyroError` that says the same as `error`, with a hint."""
    kind, hint = _OF_THE_SYSTEM.get(error.errno or 0, (PyroError, ""))
    what = error.strerror or str(error)
    if error.filename is not None:
        return kind(f"{error.filename}: {what}", hint=hint)
    if error.errno == errno.ENOENT:  # only asking for the working folder fails without a name
        return kind("the working folder does not exist any more", hint="go to another folder, then try again")
    return kind(what, hint=hint)
