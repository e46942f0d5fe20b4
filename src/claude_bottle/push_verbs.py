"""The method of `Bottles` for held pushes."""

from __future__ import annotations

from claude_bottle.approval_verbs import ApprovalVerbs
from claude_bottle.results import HeldPushReport
from pyro_mcp.errors import NotFound, own_errors


class PushVerbs(ApprovalVerbs):
    """See what an approval of a push would forward."""

    def held_push(self, reference: str) -> HeldPushReport:
        """Return the log and the diff of a push that waits for a decision; raises `NotFound`."""
        from claude_bottle.gate.part import gate_folder  # noqa: PLC0415 - few verbs need it
        from claude_bottle.gate.shown import held_push  # noqa: PLC0415
        from claude_bottle.guard.settings import guard_dir  # noqa: PLC0415

        with own_errors():
            found = next((one for one in self.pending()["requests"] if one["reference"] == reference), None)
            if found is None:
                raise NotFound(
                    f"no request {reference!r} waits for a decision", hint="'claude-bottle pending' shows the requests"
                )
            held = None
            if found["kind"] == "push":
                held = held_push(gate_folder(guard_dir(found["slug"])), found["rule"])
            if held is None:
                raise NotFound(f"{reference} is no push that is held", hint="'claude-bottle pending' says what it is")
            return {
                "reference": reference,
                "slug": found["slug"],
                "remote": held.remote,
                "url": held.url,
                "summary": held.summary,
                "remarks": [*held.remarks],
                "log": held.log,
                "diff": held.diff,
            }
