"""What is told of a workspace, without its secrets."""

from __future__ import annotations

import base64
from dataclasses import replace

from pyro_mcp.engine import Capture, Command, Outcome, Session
from pyro_mcp.results import Diff, FileRead
from pyro_mcp.workspaces.masking import Mask


def run(session: Session, command: Command, mask: Mask) -> Outcome:
    """Run a command; its output is masked before anybody gets it, and before it is cut to `output_cap`."""
    if not mask:
        return session.run(command)
    stdout, stderr = (Capture(command.output_cap, sink) for sink in (command.on_stdout, command.on_stderr))
    out, err = mask.stream(), mask.stream()
    hiding = replace(
        command,
        output_cap=0,
        on_stdout=lambda data: stdout.take(out.feed(data)),
        on_stderr=lambda data: stderr.take(err.feed(data)),
    )
    try:
        outcome = session.run(hiding)
    finally:
        stdout.take(out.finish())
        stderr.take(err.finish())
    return replace(
        outcome, stdout=stdout.kept(), stderr=stderr.kept(), stdout_bytes=stdout.total, stderr_bytes=stderr.total
    )


def content(found: FileRead, mask: Mask) -> FileRead:
    """A file's masked content: `content` is that of the file where it holds no secret."""
    if not mask:
        return found
    text = found["encoding"] == "utf-8"
    data = found["content"].encode() if text else base64.b64decode(found["content"])
    stream = mask.stream()
    # What may be the first half of a secret, whose other half was not read, is left out.
    shown = stream.feed(data) + (b"" if found["truncated"] else stream.finish())
    return {
        **found,
        "path": mask.text(found["path"]),
        "content": shown.decode(errors="replace") if text else base64.b64encode(shown).decode(),
    }


def changes(found: Diff, mask: Mask) -> Diff:
    """A masked diff; a patch that has changed by it is not complete any more."""
    shown: Diff = mask.everything(found)
    return found if shown == found else {**shown, "patch_complete": False}
