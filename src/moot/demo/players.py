"""What the "models" of the two agents say: Implementation repairs a program, QA tests the repair and answers."""

from __future__ import annotations

import json
from collections.abc import Callable

from moot.demo.scripted_model import Call, Message, Play, Rest

Tell = Callable[[str, str], None]
"""Gets a role, and a sentence about what it does now."""
LAST_WORDS = {"implementation": "QA has passed the repair.", "qa": "I have answered."}
FILES = {
    "sums.py": '"""Sums of numbers."""\n\n\ndef add(left: int, right: int) -> int:\n    return left - right\n',
    "test_sums.py": (
        "import unittest\n\nfrom sums import add\n\n\nclass Sums(unittest.TestCase):\n"
        "    def test_two_and_three_are_five(self) -> None:\n        self.assertEqual(add(2, 3), 5)\n"
    ),
}
_TESTS = "python3 -m unittest 2>&1 | tail -4"
_REPAIR = (
    f"sed -i 's/left - right/left + right/' sums.py && {_TESTS} && git commit -qam 'Repair add' && git log -1 --oneline"
)
_CHECK = f"git switch -q --detach implementation/work && git diff --stat main... && {_TESTS}"


def implementation(tell: Tell) -> Play:
    """Repair the program, hand the branch to QA, and wait for the verdict."""
    role = "implementation"
    tell(role, "looks at its space, and who is in it")
    yield Call("mcp__convo__orientation", {})
    people = yield Call("mcp__convo__list_participants", {"detail": "standard"})
    tell(role, "repairs sums.py in its worktree, and commits")
    done = yield Call("Bash", {"command": _REPAIR, "description": "repair and test"})
    _require(str(done), "OK")
    text = f"Done: add() adds. Branch: implementation/work. Next: test it.\n\n{_last_line(str(done))}"
    tell(role, "hands the branch to QA, with a message that mentions it")
    arguments = {"text": text, "mentions": [_participant(str(people), "QA")], "message_type": "feature"}
    yield Call("mcp__convo__share", arguments)
    yield Call("mcp__convo__update_status", {"status": "handed the repair to QA"})
    verdict = yield Rest("I have handed the branch to QA.")
    assert isinstance(verdict, Message)
    tell(role, "has read the verdict")
    yield Call("mcp__convo__update_status", {"status": "done"})
    yield Rest(LAST_WORDS[role])


def qa(tell: Tell) -> Play:
    """Wait for a branch, test it, and answer with a verdict."""
    role = "qa"
    tell(role, "looks at its space, and waits")
    yield Call("mcp__convo__orientation", {})
    yield Call("mcp__convo__update_status", {"status": "ready"})
    asked = yield Rest("I wait for a branch.")
    assert isinstance(asked, Message)
    tell(role, "has read the message, and tests the branch in its own worktree")
    seen = yield Call("Bash", {"command": _CHECK, "description": "test the branch"})
    _require(str(seen), "OK")
    tell(role, "answers with its verdict")
    verdict = f"Verdict: pass. {_last_line(str(seen))}: the test that failed passes now."
    arguments = {"event_id": asked.event_id, "text": verdict, "message_type": "review_request"}
    yield Call("mcp__convo__reply_to", arguments)
    yield Call("mcp__convo__update_status", {"status": "ready"})
    yield Rest(LAST_WORDS[role])


def _participant(people: str, name: str) -> str:
    """Return the participant id of a name in a list of participants in JSON. Raises `LookupError`."""
    decoder, end = json.JSONDecoder(), 0
    text = people.replace('\\"', '"').replace("\\n", "\n")  # Claude Code shows the list as a text in an object
    while (begin := text.find("[", end)) >= 0:
        try:
            found, _ = decoder.raw_decode(text, begin)
        except ValueError:
            end = begin + 1
            continue
        for one in found:
            if isinstance(one, dict) and one.get("name") == name:
                return str(one["participant_id"])
        end = begin + 1
    raise LookupError(f"{name} is not in the space: {people[:500]}")


def _require(output: str, word: str) -> None:
    if word not in output:
        raise LookupError(f"the command did not do what it should: {output[:500]}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1].strip()
