"""A bottle that asks, and a page that is served by this process, with a client that sends exactly what a test says."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode, urlsplit

import pytest

from claude_bottle.bottles import Bottles
from claude_bottle.page.serving import Page, PageOptions
from claude_bottle.page.webhooks import Webhook
from tests.bottles.asking import AskingBottle

SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def links(self) -> list[str]:
        """The targets of its forms."""
        return [unescape(one) for one in re.findall(r'<form method="post" action="([^"]*)"', self.text)]


class Client:
    """An HTTP client of the page; `origin` is sent with each POST, as browsers do."""

    def __init__(self, page: Page, said: list[str]) -> None:
        self.page, self.said = page, said
        self.origin = page.own_url
        self.list_path = urlsplit(page.list_url).path

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self.send(method, path, None, headers)

    def post(self, path: str, fields: Mapping[str, str] | bytes, **headers: str) -> Answer:
        given = {"Origin": self.origin, "Content-Type": "application/x-www-form-urlencoded", **headers}
        return self.send("POST", path, fields if isinstance(fields, bytes) else urlencode(fields).encode(), given)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(self.page.own_url)
        with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=SECONDS)) as connection:
            given = {name.replace("_", "-"): value for name, value in headers.items() if value != "(none)"}
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())

    def token_for(self, reference: str, decision: str) -> str:
        """Choose a decision in the list; return the path of its question."""
        answer = self.post(self.list_path, {"reference": reference, "decision": decision})
        assert answer.status == 303
        return answer.headers["location"]


Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves pages, each in a thread, until the end of the test."""
    pages = list[tuple[Page, threading.Thread]]()

    def start(hooks: list[Webhook] | None = None, **options: object) -> Client:
        said = list[str]()
        page = Page(Bottles(), PageOptions(**options), hooks or [], said.append)  # type: ignore[arg-type]
        thread = threading.Thread(target=page.serve)
        thread.start()
        pages.append((page, thread))
        return Client(page, said)

    yield start
    for page, thread in pages:
        page.stop()
        thread.join(SECONDS)
        page.close()
        assert not thread.is_alive()


@pytest.fixture
def client(asking: AskingBottle, serve: Serve) -> Client:
    """A client of a page without webhooks."""
    assert asking
    return serve()
