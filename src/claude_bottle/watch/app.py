"""The screen of `claude-bottle watch`: four lists, from top to bottom, that fit a terminal of 80 × 24."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, TypeAlias

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.css.query import NoMatches
from textual.message import Message
from textual.widgets import Footer, Log, OptionList, Static
from textual.widgets.option_list import Option

from claude_bottle.audit import Journal, user_journal
from claude_bottle.request_facts import push_texts, request_text
from claude_bottle.results import BottleList, PendingReport, RequestInfo
from claude_bottle.watch.confirm import Confirm
from claude_bottle.watch.feed import Feed, News, Source
from claude_bottle.watch.lines import agent_lines, decision_line, request_lines
from pyro_mcp.errors import PyroError
from pyro_mcp.visible import visible

_MOST_LOG_LINES = 2000
_TITLES = {
    "agents": "Agents",
    "requests": "Requests",
    "request": "The request",
    "decisions": "Decisions (Tab: next list)",
}

Push: TypeAlias = "list[tuple[str, str]]"
"""The texts of a held push, each with its title."""


class Changed(Message):
    """News from a thread; `show` shows it."""

    def __init__(self, show: Callable[[], None]) -> None:
        super().__init__()
        self.show = show


class WatchApp(App[None]):
    """The screen. `source` gives the bottles and requests, and takes the decisions."""

    TITLE = "claude-bottle"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    OptionList, #request, Log { border: none; border-top: solid $primary; padding: 0 1; height: 1fr; }
    OptionList { text-wrap: nowrap; text-overflow: ellipsis; }
    OptionList > .option-list--option-highlighted { text-style: reverse; }
    OptionList, #request, Log { scrollbar-size-vertical: 1; scrollbar-size-horizontal: 0; }
    OptionList:focus, #request:focus, Log:focus { border-top: heavy $accent; }
    #agents { height: 2fr; }
    #requests { height: 2fr; }
    #request { height: 3fr; }
    #decisions { height: 2fr; }
    #problem { height: auto; display: none; text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "decide(True)", "Approve"),
        Binding("d", "decide(False)", "Deny"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, source: Source, journal: Journal | None = None) -> None:
        super().__init__()
        self._source = source
        self._feed = Feed(source, journal or user_journal(), lambda news: self._post(lambda: self.show(news)))
        self._requests: list[RequestInfo] = []
        self._problems: dict[str, str] = {}
        self._pushes: dict[str, Push] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="problem", markup=False)
        yield OptionList(id="agents", markup=False)
        yield OptionList(id="requests", markup=False)
        with VerticalScroll(id="request", can_focus=True):
            yield Static(id="text", markup=False)
        yield Log(id="decisions", max_lines=_MOST_LOG_LINES)
        yield Footer()

    def on_mount(self) -> None:
        for name, title in _TITLES.items():
            self.query_one(f"#{name}").border_title = title
        self.query_one("#requests").focus()
        self._show_request()
        self._follow_agents()
        self._follow_decisions()

    def on_unmount(self) -> None:
        self._feed.stop()

    @work(thread=True)
    def _follow_agents(self) -> None:
        self._feed.follow_agents()

    @work(thread=True)
    def _follow_decisions(self) -> None:
        self._feed.follow_decisions()

    def _post(self, show: Callable[[], None]) -> None:
        """Let the screen show something; threads call this."""
        self.post_message(Changed(show))

    def on_changed(self, message: Changed) -> None:
        with suppress(NoMatches):  # the person has quit, and the lists are being removed
            message.show()

    def show(self, news: News) -> None:
        """Show what has changed."""
        self._show_problems(news)
        if news.agents is not None:
            self._show_agents(news.agents)
        if news.requests is not None:
            self._show_requests(news.requests)
        if news.decisions:
            self.query_one(Log).write_lines([decision_line(one) for one in news.decisions])

    def _show_problems(self, news: News) -> None:
        self._problems.update(news.problems)
        lines = [f"the {what} cannot be read: {why}" for what, why in self._problems.items() if why]
        problem = self.query_one("#problem", Static)
        problem.display = bool(lines)
        problem.update(Content("\n".join(lines)))

    def _show_agents(self, found: BottleList) -> None:
        names = [one["slug"] for one in found["bottles"]]
        _fill(self.query_one("#agents", OptionList), names, agent_lines(found["bottles"]))
        self.query_one("#agents").border_title = f"Agents: {found['count']}"

    def _show_requests(self, report: PendingReport) -> None:
        self._requests = report["requests"]
        table = self.query_one("#requests", OptionList)
        names = [one["reference"] for one in self._requests]
        _fill(table, names, request_lines(self._requests))
        self._pushes = {name: push for name, push in self._pushes.items() if name in names}
        excess = sum(one["count"] for one in report["excess"])
        more = f", and {excess} refused without asking you, because a bottle asked too often" if excess else ""
        table.border_title = f"Requests: {len(self._requests)}{more}"
        self._show_request()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        with suppress(NoMatches):  # as in `on_changed`
            if event.option_list.id == "requests":
                self._show_request()

    def _show_request(self) -> None:
        chosen = self._chosen()
        text = "no agent waits for a decision"
        if chosen is not None:
            text = request_text(chosen, self._pushes.get(chosen["reference"], ()))
            if chosen["kind"] == "push" and chosen["reference"] not in self._pushes:
                self._read_push(chosen)
        self.query_one("#text", Static).update(Content(text))

    @work(thread=True, exclusive=True, group="push")
    def _read_push(self, one: RequestInfo) -> None:
        try:
            push = push_texts(self._source, one)
        except PyroError as error:
            push = [("push", f"it cannot be shown: {error.message}")]
        self._post(lambda: self._show_push(one["reference"], push))

    def _show_push(self, reference: str, push: Push) -> None:
        self._pushes[reference] = push
        chosen = self._chosen()
        if chosen is not None and chosen["reference"] == reference:
            self._show_request()

    def _chosen(self) -> RequestInfo | None:
        table = self.query_one("#requests", OptionList)
        option = table.highlighted_option
        return next((one for one in self._requests if option is not None and one["reference"] == option.id), None)

    @work
    async def action_decide(self, approve: bool) -> None:
        """Ask for a confirmation that shows the exact rule, then decide about that request and no other."""
        chosen = self._chosen()
        if chosen is None:
            self.bell()
            return
        try:
            push = await asyncio.to_thread(push_texts, self._source, chosen)
        except PyroError as error:
            if approve:  # nobody approves what cannot be shown
                self._tell_error(error)
                return
            push = []
        if await self.push_screen_wait(Confirm(chosen, push, approve=approve)):
            self._decide(chosen["reference"], approve)

    @work(thread=True)
    def _decide(self, reference: str, approve: bool) -> None:
        try:
            (self._source.approve if approve else self._source.deny)(reference)
        except PyroError as error:
            problem = error
            self._post(lambda: self._tell_error(problem))

    def _tell_error(self, error: PyroError) -> None:
        self.notify(visible(str(error), keep="\n"), severity="error", markup=False, timeout=15)


def _fill(table: OptionList, names: list[str], lines: list[str]) -> None:
    """Replace the lines of a list, and keep the highlight on the line with the same name."""
    before = table.highlighted_option
    table.set_options([Option(Content(line), id=name) for name, line in zip(names, lines, strict=True)])
    if before is not None and before.id in names:
        table.highlighted = names.index(before.id)
    elif names:
        table.highlighted = 0
