"""The screen shows agents, requests and decisions, and decides only after a confirmation that shows the exact rule."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Log, OptionList, Static

from claude_bottle.audit import user_journal
from claude_bottle.bottles import Bottles
from claude_bottle.guard.changes import requests_version
from claude_bottle.guard.database import guard_database
from claude_bottle.watch.app import WatchApp
from claude_bottle.watch.lines import agent_lines
from tests.bottles.asking import AskingBottle

DEADLINE = 30.0
Story = Callable[[WatchApp, Pilot[None]], Coroutine[Any, Any, None]]


def play(story: Story, size: tuple[int, int] = (80, 24)) -> None:
    """Run the screen without a terminal, and a story on it."""

    async def run() -> None:
        app = WatchApp(Bottles())
        async with app.run_test(size=size, notifications=True) as pilot:
            await story(app, pilot)

    asyncio.run(asyncio.wait_for(run(), 2 * DEADLINE))


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after the deadline."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < end, "the screen never showed it"
        await pilot.pause(0.02)


def rows(app: WatchApp, name: str) -> list[str]:
    table = app.screen_stack[0].query_one(f"#{name}", OptionList)
    return [str(table.get_option_at_index(number).prompt) for number in range(table.option_count)]


def text(app: WatchApp, name: str) -> str:
    return str(app.screen.query_one(f"#{name}", Static).render())


def test_agents_requests_and_decisions_appear_as_they_come(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app, "agents")) == 1)
        assert asking.slug in rows(app, "agents")[0]
        request = asking.ask()
        await until(pilot, lambda: len(rows(app, "requests")) == 1)
        assert rows(app, "requests")[0].startswith(request.reference)
        assert "connect to pypi.org, port 443" in text(app, "text") and '{"host": "pypi.org:443"}' in text(app, "text")
        user_journal().add(
            "egress", "refused", slug="b-1", bottle="b", agent="a", who="policy", rule="evil.org", what={}
        )
        await until(pilot, lambda: any("egress refused by policy: evil.org" in one for one in app.query_one(Log).lines))

    play(story)


@pytest.mark.usefixtures("asking")
def test_an_agent_is_shown_with_the_use_of_its_budget() -> None:
    (info,) = Bottles().list()["bottles"]
    info["budget"] = [{"span": "run", "unit": "usd", "used": 0.25, "reserved": 0, "limit": 2.0}]

    (line,) = agent_lines([info])
    assert line.startswith(info["slug"]) and "gone" in line and "0.25" in line and "of $2" in line and len(line) <= 80


def test_a_request_is_approved_only_after_the_confirmation(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        request = asking.ask(reason="to install a package")
        await until(pilot, lambda: len(rows(app, "requests")) == 1)
        await pilot.press("a")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        assert "Approve this request?" in text(app, "question")
        assert '{"host": "pypi.org:443"}' in text(app, "asked") and "to install a package" in text(app, "asked")
        await pilot.press("enter")
        await pilot.press("space")
        assert len(app.screen_stack) == 2
        await pilot.press("n")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert asking.state_of(request)[0] == "pending"

        await pilot.press("a")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(pilot, lambda: asking.state_of(request)[0] == "approved")
        await until(pilot, lambda: rows(app, "requests") == [])
        assert asking.state_of(request)[1].startswith("person ")

    play(story)


def test_the_confirmed_request_is_decided_although_others_came(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        first = asking.ask(rule={"host": "first.org:443"})
        second = asking.ask(rule={"host": "second.org:443"})
        await until(pilot, lambda: len(rows(app, "requests")) == 2)
        await pilot.press("down")
        await until(pilot, lambda: "second.org" in text(app, "text"))
        await pilot.press("d")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        third = asking.ask(rule={"host": "third.org:443"})
        Bottles().deny(first.reference)
        await until(
            pilot, lambda: [one[:4] for one in rows(app, "requests")] == [second.reference[:4], third.reference[:4]]
        )
        await pilot.press("y")
        await until(pilot, lambda: asking.state_of(second)[0] == "denied")
        assert asking.state_of(third)[0] == "pending"

    play(story)


def test_a_decision_that_came_too_late_is_told(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        request = asking.ask()
        await until(pilot, lambda: len(rows(app, "requests")) == 1)
        await pilot.press("a")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        Bottles().deny(request.reference)
        await pilot.press("y")
        await until(pilot, lambda: any("r1 is denied" in one.message for one in app._notifications))
        assert asking.state_of(request)[0] == "denied"

    play(story)


def test_hostile_text_is_shown_with_its_characters_visible(asking: AskingBottle) -> None:
    evil = "\x1b[2J[b]bold[/b] \u202egpj.exe\u200b\r\n"

    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        asking.ask(rule={"host": f"{evil}:443"}, reason=evil)
        user_journal().add("egress", "refused", slug="b-1", bottle="b", agent="a", who="policy", rule=evil, what={})
        await until(pilot, lambda: len(rows(app, "requests")) == 1 and app.query_one(Log).line_count >= 2)
        shown = [text(app, "text"), *rows(app, "requests"), *app.query_one(Log).lines]
        assert all(one.replace("\n", "").isprintable() for one in shown)
        assert all("[b]bold[/b]" in one for one in (shown[0], shown[1])) and "\\u202egpj" in shown[0]

    play(story)


def test_a_held_push_is_shown_with_its_log_and_changes(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        request = asking.hold_push(log="commit 1\n\n    [b]repair[/b]", diff="-old\n+new\x1b[2J\u202e")
        await until(pilot, lambda: "-old\n+new\\x1b[2J\\u202e" in text(app, "text"))
        assert "[b]repair[/b]" in text(app, "text") and "NOTE a hook" in text(app, "text")
        await pilot.press("a")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        assert "-old\n+new" in text(app, "asked")
        await pilot.press("y")
        await until(pilot, lambda: asking.state_of(request)[0] == "approved")

    play(story)


def test_a_push_that_cannot_be_shown_can_be_denied_but_not_approved(asking: AskingBottle) -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        request = asking.ask("push", {"remote": "origin", "url": "x", "updates": []})
        await until(pilot, lambda: "it cannot be shown" in text(app, "text"))
        await pilot.press("a")
        await until(pilot, lambda: any("is no push that is held" in one.message for one in app._notifications))
        assert len(app.screen_stack) == 1
        await pilot.press("d")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("y")
        await until(pilot, lambda: asking.state_of(request)[0] == "denied")

    play(story)


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_everything_fits_the_terminal_also_without_colours(
    asking: AskingBottle, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        asking.ask()
        await until(pilot, lambda: len(rows(app, "requests")) == 1)
        for name in ("agents", "requests", "request", "decisions"):
            region = app.query_one(f"#{name}").region
            assert region.right <= size[0] and region.bottom <= size[1] and region.height >= 2
        assert app.no_color

    play(story, size)


def test_reading_the_requests_looks_like_no_change_of_them(asking: AskingBottle) -> None:
    asking.ask()
    Bottles().pending()
    before = requests_version()
    assert Bottles().pending()["requests"] and requests_version() == before

    asking.ask(rule={"host": "other.org:443"})
    assert requests_version() != before


@pytest.mark.usefixtures("asking")
def test_quitting_ends_the_threads_of_the_screen() -> None:
    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(app, "agents")) == 1)
        await pilot.press("q")

    before = threading.active_count()
    play(story)
    assert threading.active_count() <= before


@pytest.mark.usefixtures("asking")
def test_a_database_that_cannot_be_read_is_told() -> None:
    guard_database().mkdir()

    async def story(app: WatchApp, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "the requests cannot be read" in text(app, "problem"))

    play(story)
