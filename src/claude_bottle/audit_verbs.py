"""The methods of `Bottles` for the audit journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from claude_bottle.audit import DECISIONS, Entry, Mark, Problem, user_journal, verify
from claude_bottle.results import AuditEntry, AuditProblem, AuditReport, AuditVerification
from pyro_mcp.errors import InvalidRequest, own_errors
from pyro_mcp.hints import near_match

_MOST_ENTRIES = 1000


class AuditVerbs:
    """The verbs that read and check the audit journal."""

    def audit(
        self, *, since: float = 0.0, slug: str = "", bottle: str = "", kind: str = "", limit: int = _MOST_ENTRIES
    ) -> AuditReport:
        """Return the last `limit` decisions since a time, oldest first.

        `slug` selects one launched bottle, `bottle` all launches of one bottle of a manifest, `kind` one kind of
        decision.
        """
        with own_errors():
            if kind and kind not in DECISIONS:
                hint = near_match(kind, DECISIONS) or f"the kinds are {', '.join(DECISIONS)}"
                raise InvalidRequest(f"there is no kind of decision {kind!r}", hint=hint)
            if limit < 1:
                raise InvalidRequest(f"the limit is {limit}, but it must be at least 1")
            journal, count = user_journal(), 0
            last = deque[Entry](maxlen=limit)
            for entry in journal.entries(since=since, slug=slug, bottle=bottle, kind=kind):
                last.append(entry)
                count += 1
            return {
                "journal": str(journal.path),
                "omitted": count - len(last),
                "entries": [_entry(one) for one in last],
            }

    def audit_verify(
        self, *, mark: str = "", progress: Callable[[int, float], None] = lambda _lines, _fraction: None
    ) -> AuditVerification:
        """Check that no line of the journal was changed, removed, added or moved.

        `mark` is what an earlier check returned, as `NUMBER:HASH`: the journal must still have that line. `progress`
        gets the number of lines that are checked so far, and the fraction.
        """
        with own_errors():
            journal = user_journal()
            found = verify(journal.path, mark=_mark(mark), progress=progress)
            return {
                "journal": str(journal.path),
                "intact": found.intact,
                "lines": found.lines,
                "mark": f"{found.end.number}:{found.end.own}",
                "problem_count": found.problem_count,
                "problems": [_problem(one) for one in found.problems],
            }


def _mark(text: str) -> Mark | None:
    number, _, own = text.partition(":")
    if not text:
        return None
    if not (number.isascii() and number.isdigit() and len(number) < 19 and len(own) == 64):
        raise InvalidRequest(
            f"{text!r} is not the mark of a journal", hint="give the mark that an earlier 'audit verify' printed"
        )
    return Mark(int(number), own)


def _entry(entry: Entry) -> AuditEntry:
    return {
        "number": entry.number,
        "at": entry.at,
        "kind": entry.kind,
        "decision": entry.decision,
        "slug": entry.slug,
        "bottle": entry.bottle,
        "agent": entry.agent,
        "who": entry.who,
        "rule": entry.rule,
        "what": dict(entry.what),
    }


def _problem(one: Problem) -> AuditProblem:
    return {"what": one.what, "first": one.first, "last": one.last, "row": one.row, "message": one.message}
