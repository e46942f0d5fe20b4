"""The question before a decision: the exact rule once more, and two keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from claude_bottle.request_facts import request_text
from claude_bottle.results import RequestInfo


class Confirm(ModalScreen[bool]):
    """The dialog that shows a request as it was when the person pressed the key; it returns whether they confirmed."""

    CSS = """
    Confirm { align: center middle; }
    #box { width: 76; max-width: 100%; height: auto; max-height: 100%; border: heavy $accent; padding: 0 1; }
    #question { text-style: bold; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,q", "dismiss(False)", "No"),
    ]

    def __init__(self, request: RequestInfo, push: Sequence[tuple[str, str]], *, approve: bool) -> None:
        super().__init__()
        self._text, self._approve = request_text(request, push), approve

    def compose(self) -> ComposeResult:
        verb = "Approve" if self._approve else "Deny"
        with VerticalScroll(id="box", can_focus=True):
            yield Static(f"{verb} this request?  y: yes, {verb.lower()} it   n: no", id="question", markup=False)
            yield Static(Content(f"\n{self._text}"), id="asked", markup=False)
