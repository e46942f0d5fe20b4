"""The methods of `Bottles` for the requests of agents."""

from __future__ import annotations

from claude_bottle.audit.journal import person
from claude_bottle.results import HeldPushReport, PendingReport, RequestInfo
from pyro_mcp.errors import NotFound, own_errors


class ApprovalVerbs:
    """The verbs that show and decide the requests of agents."""

    def pending(self) -> PendingReport:
        """Return the requests that wait for a person, oldest first, and how many exceeded the limits of bottles."""
        from claude_bottle.guard.decisions import pending_report  # noqa: PLC0415 - few verbs need it

        with own_errors():
            return pending_report()

    def approve(self, reference: str, *, who: str = "") -> RequestInfo:
        """Allow exactly what a person saw as `reference`, for the time that its bottle's manifest says.

        The approval takes effect within a second. `who` is recorded as the person, by default the user of this process.
        Raises `Conflict` if the request was decided already or has expired, if its bottle has ended, or if the manifest
        has changed since the agent asked; then nothing is allowed.
        """
        return self._decide(reference, who, approve=True)

    def deny(self, reference: str, *, who: str = "") -> RequestInfo:
        """Refuse a request. Raises `Conflict` if it was decided already, or has expired."""
        return self._decide(reference, who, approve=False)

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

    def _decide(self, reference: str, who: str, *, approve: bool) -> RequestInfo:
        from claude_bottle.guard.decisions import decide  # noqa: PLC0415

        with own_errors():
            return decide(reference, approve=approve, who=who or person())
