"""Mask the secrets of a workspace in what is returned."""

from __future__ import annotations

from dataclasses import replace

from pyro_mcp.engine import Capture, Command, Connection, Outcome
from pyro_mcp.redaction import Mask
from pyro_mcp.results import Diff


def run(connection: Connection, command: Command, mask: Mask) -> Outcome:
    """Run a command; its output is masked before anybody gets it, and before it is cut to `output_cap`."""
    if not mask:
        return connection.run(command)
    stdout, stderr = (Capture(command.output_cap, sink) for sink in (command.on_stdout, command.on_stderr))
    out, err = mask.stream(), mask.stream()
    hiding = replace(
        command,
        output_cap=0,
        on_stdout=lambda data: stdout.take(out.feed(data)),
        on_stderr=lambda data: stderr.take(err.feed(data)),
    )
    try:
        outcome = connection.run(hiding)
    finally:
        stdout.take(out.finish())
        stderr.take(err.finish())
    return replace(
        outcome, stdout=stdout.kept(), stderr=stderr.kept(), stdout_bytes=stdout.total, stderr_bytes=stderr.total
    )


def changes(found: Diff, mask: Mask) -> Diff:
    """Return the masked diff; a patch that masking has changed is no longer complete."""
    shown: Diff = mask.everything(found)
    return found if shown == found else {**shown, "patch_complete": False}
