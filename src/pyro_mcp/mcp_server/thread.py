"""The work of a call in a thread of its own: cancelled when its caller is; reports progress."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from pyro_mcp.errors import Interrupted

Result = TypeVar("Result")
Report = Callable[[float, float | None, str | None], Awaitable[None]]

AT_ONCE = 64
"""Calls that run at once; others wait for their turn."""
_FIRST_REPORT = 1.0
_REPORT_EVERY = 2.0  # hosts that take progress for a sign of life give up after 30 s or more without
_limit: RunVar[anyio.CapacityLimiter] = RunVar("calls at once")  # of each event loop


class Work:
    """What a call and its thread know of each other.

    `interrupt` becomes readable when the work is to end; it exists while the work is done in `in_thread`.
    """

    def __init__(self, report: Report | None = None) -> None:
        self.report = report
        self.interrupt: int | None = None
        self._ended = False
        self._message = ""
        self._bytes = 0
        self._began = time.monotonic()

    @property
    def ended(self) -> bool:
        """Return whether the caller was cancelled."""
        return self._ended

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Report progress; raise `Interrupted` if the caller was cancelled."""
        self._message = message if fraction is None else f"{message} ({fraction:.0%})"
        if self._ended:
            raise Interrupted("nobody waits for this any more")

    def output(self, data: bytes) -> None:
        """Count the bytes of a command's output."""
        self._bytes += len(data)

    def end(self) -> None:
        """Have the work end as soon as it can."""
        self._ended = True
        if self.interrupt is not None:
            os.eventfd_write(self.interrupt, 1)

    def stands(self) -> str:
        """Return the progress of the work as a text."""
        seconds = time.monotonic() - self._began
        output = f", {self._bytes} bytes of output" if self._bytes else ""
        return f"{self._message or 'working'}: {seconds:.0f} s{output}"


async def in_thread(function: Callable[[], Result], work: Work) -> Result:
    """Return what `function` returns; if the caller is cancelled, end the work and wait for its end.

    Nothing of it runs on when this is over, so a server that has ended leaves no command behind.
    """
    work.interrupt = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_end_when_cancelled, work)
            if work.report is not None:
                tasks.start_soon(_report, work, work.report)
            result = await anyio.to_thread.run_sync(_outcome, function, limiter=_limiter())
            tasks.cancel_scope.cancel()
    finally:
        os.close(work.interrupt)
        work.interrupt = None
    if isinstance(result, _Raised):
        raise result.error
    return result


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _outcome(function: Callable[[], Result]) -> Result | _Raised:
    # As a value: a task group would wrap the error in a group of its own.
    try:
        return function()
    except Exception as error:  # noqa: BLE001
        return _Raised(error)


async def _end_when_cancelled(work: Work) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        work.end()


async def _report(work: Work, report: Report) -> None:
    await anyio.sleep(_FIRST_REPORT)
    count = 0
    while True:
        count += 1
        await report(float(count), None, work.stands())
        await anyio.sleep(_REPORT_EVERY)


def _limiter() -> anyio.CapacityLimiter:
    """Return a limiter of our own: the streams' threads use the default one, and a cancellation must always get in."""
    try:
        return _limit.get()
    except LookupError:
        _limit.set(anyio.CapacityLimiter(AT_ONCE))
        return _limit.get()
