"""The screen of `claude-bottle watch`: four lists, from top to bottom, that fit a terminal of 80 × 24."""

from __future__ import annotations

from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Log, OptionList, Static
from textual.widgets.option_list import Option

from claude_bottle.audit import Journal, user_journal
from claude_bottle.results import BottleList, PendingReport, RequestInfo
from claude_bottle.watch.confirm import Confirm
from claude_bottle.watch.feed import Feed, News, Source
from claude_bottle.watch.lines import agent_line, decision_line, request_line, request_text
from pyro_mcp.errors import PyroError

_MOST_LOG_LINES = 2000


class WatchApp(App[None]):
    """The screen. `source` gives the bottles and requests, and takes the decisions."""

    TITLE = "claude-bottle"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    OptionList, #request, Log { border: none; border-top: solid $primary; padding: 0 1; height: 1fr; }
    OptionList { overflow-x: auto; }
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
        Binding("tab", "app.focus_next", "Next list", show=True),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, source: Source, journal: Journal | None = None) -> None:
        super().__init__()
        self._source = source
        self._feed = Feed(source, journal or user_journal(), lambda news: self.call_from_thread(self.show, news))
        self._requests: list[RequestInfo] = []
        self._problems: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="problem", markup=False)
        yield OptionList(id="agents", markup=False)
        yield OptionList(id="requests", markup=False)
        with VerticalScroll(id="request", can_focus=True):
            yield Static(id="text", markup=False)
        yield Log(id="decisions", max_lines=_MOST_LOG_LINES)
        yield Footer()

    def on_mount(self) -> None:
        titles = {"agents": "Agents", "requests": "Requests", "request": "The request", "decisions": "Decisions"}
        for name, title in titles.items():
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

    def show(self, news: News) -> None:
        """Show what has changed."""
        self._show_problems(news)
        if news.agents is not None:
            self._show_agents(news.agents, news)
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

    def _show_agents(self, found: BottleList, news: News) -> None:
        lines = [(one["slug"], agent_line(one, news.budgets.get(one["slug"], ""))) for one in found["bottles"]]
        _fill(self.query_one("#agents", OptionList), lines)
        self.query_one("#agents").border_title = f"Agents: {found['count']}"

    def _show_requests(self, report: PendingReport) -> None:
        self._requests = report["requests"]
        table = self.query_one("#requests", OptionList)
        _fill(table, [(one["reference"], request_line(one)) for one in self._requests])
        excess = sum(one["count"] for one in report["excess"])
        more = f", and {excess} refused unasked because a bottle asked too often" if excess else ""
        table.border_title = f"Requests: {len(self._requests)}{more}"
        self._show_request()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        if event.option_list.id == "requests":
            self._show_request()

    def _show_request(self) -> None:
        chosen = self._chosen()
        text = "no agent waits for a decision" if chosen is None else f"{request_text(chosen)}"
        self.query_one("#text", Static).update(Content(text))

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
        if await self.push_screen_wait(Confirm(chosen, approve=approve)):
            self._decide(chosen["reference"], approve)

    @work(thread=True)
    def _decide(self, reference: str, approve: bool) -> None:
        try:
            (self._source.approve if approve else self._source.deny)(reference)
        except PyroError as error:
            self.call_from_thread(self.notify, str(error), severity="error", markup=False, timeout=15)


def _fill(table: OptionList, lines: list[tuple[str, str]]) -> None:
    """Replace the lines of a list, and keep the highlight on the line with the same id."""
    before = table.highlighted_option
    options = [Option(Content(line), id=name) for name, line in lines]
    names = [name for name, _ in lines]
    table.set_options(options)
    if before is not None and before.id in names:
        table.highlighted = names.index(before.id)
    elif names:
        table.highlighted = 0
