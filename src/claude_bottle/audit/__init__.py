"""The audit journal: one line for each decision about what a bottle may do, with who decided and by which rule.

    journal = user_journal()
    journal.add("egress", "allowed", slug=slug, bottle="dev", agent="web", who="policy", rule="pypi.org:443", what={})
    for entry in journal.entries(since=time.time() - 3600, kind="push"): ...
    found = verify(journal.path)

The journal is one file of this user, `$XDG_STATE_HOME/claude-bottle/audit/journal.jsonl`. Each line holds the hash of
the line before it, and a file beside the journal holds the number and the hash of its last line.
"""

from claude_bottle.audit.journal import Journal, user_journal
from claude_bottle.audit.line import Entry
from claude_bottle.audit.verify import Mark, Problem, Verification, verify
from claude_bottle.audit.vocabulary import DECISIONS, Decision, DecisionKind

__all__ = [
    "DECISIONS",
    "Decision",
    "DecisionKind",
    "Entry",
    "Journal",
    "Mark",
    "Problem",
    "Verification",
    "user_journal",
    "verify",
]
