"""`claude-bottle pending`, `approve` and `deny`: a person sees what the screen and the page show."""

from __future__ import annotations

import json

from claude_bottle.bottles import Bottles
from claude_bottle.request_facts import push_texts, request_facts, request_text
from tests.bottles.asking import AskingBottle
from tests.bottles.cli.conftest import Cli


def test_the_command_shows_the_exact_rule_and_the_agent_as_the_screen_does(cli: Cli, asking: AskingBottle) -> None:
    asking.ask(
        "budget", {"scope": "run", "unit": "usd", "add": 5, "note": "two  spaces\u202e\x1b[2J"}, reason="x" * 300
    )
    asking.ask(reason="to fetch\nit")
    told = cli("pending")

    assert told.returncode == 0 and told.stderr == ""
    for one in Bottles().pending()["requests"]:
        for name, text in request_facts(one):
            if name != "denied in":  # the time goes on
                assert f"\n  {name}: {text}\n" in told.stdout
        assert request_text(one).splitlines()[0] in told.stdout
    assert "two  spaces\\u202e" in told.stdout and "asked by: web" in told.stdout
    assert "\u202e" not in told.stdout and "\x1b" not in told.stdout


def test_the_command_shows_a_held_push_as_the_page_does_and_in_full(cli: Cli, asking: AskingBottle) -> None:
    request = asking.hold_push(log="commit 1\x1b[2J", diff="+line\u202e\n" * 50_000)
    (listed,) = Bottles().pending()["requests"]
    told = cli("pending", request.reference)

    assert told.returncode == 0
    for title, text in push_texts(Bottles(), listed)[:2]:
        assert f"{title}:\n{text}\n" in told.stdout
    assert "NOTE a hook" in told.stdout and told.stdout.count("+line\\u202e\n") == 50_000
    assert request.reference in cli("pending").stdout


def test_a_decision_names_what_it_allows_and_for_how_long(cli: Cli, asking: AskingBottle) -> None:
    first, second = asking.ask(), asking.ask(rule={"host": "other.org:443"})

    approved, denied = cli("approve", first.reference), json.loads(cli("deny", second.reference, "--json").stdout)

    assert approved.stdout == f"{asking.slug} may connect to pypi.org, port 443 (TCP), for 1 h\n"
    assert (denied["state"], denied["digest"]) == ("denied", second.digest)
    assert second.reference.endswith(denied["digest"][:8])
