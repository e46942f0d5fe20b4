"""The routes of the page.

GET  /list/KEY   all pending requests; KEY was printed in the terminal that serves the page
POST /list/KEY   make a single-use token for one decision, and go to its question
GET  /t/TOKEN    the question: exactly what would be approved or denied; decides nothing
POST /t/TOKEN    the decision
"""

from __future__ import annotations

import hmac
from typing import Protocol
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from claude_bottle.page.markup import list_page, message_page, question_page
from claude_bottle.page.tokens import Decision, Permit, Tokens
from claude_bottle.request_facts import HeldPushes, push_texts
from claude_bottle.results import PendingReport, RequestInfo
from pyro_mcp.errors import PyroError

_INVALID = "This link is not valid: it was used, its time is over, or it is incomplete."
_OVER = "This request is not open any more: somebody decided, its time is over, or its bottle has ended."


class Decider(HeldPushes, Protocol):
    """The source of requests, which also decides them; `Bottles` is one."""

    def pending(self) -> PendingReport: ...
    def approve(self, reference: str, *, who: str = "") -> RequestInfo: ...
    def deny(self, reference: str, *, who: str = "") -> RequestInfo: ...


class Site:
    """The handlers of the requests that pass the safeguards. `who` is recorded as the person who decided."""

    def __init__(
        self,
        decider: Decider,
        tokens: Tokens,
        *,
        key: str,
        who: str,
    ) -> None:
        self._decider, self._tokens, self._key, self._who = decider, tokens, key, who
        self.app = Starlette(
            routes=[
                Route("/list/{key}", self._list, methods=["GET"]),
                Route("/list/{key}", self._choose, methods=["POST"]),
                Route("/t/{token}", self._question, methods=["GET"]),
                Route("/t/{token}", self._decision, methods=["POST"]),
            ],
            exception_handlers={PyroError: _failed, 404: _not_found},
        )

    def knows(self, path: str) -> bool:
        """Return whether a path has the key of the list, or a valid token."""
        kind, _, word = path.lstrip("/").partition("/")
        return self._is_key(word) if kind == "list" else kind == "t" and self._tokens.find(word) is not None

    async def _list(self, request: Request) -> Response:
        if not self._knows_key(request):
            return _answer(404, "Not found", _INVALID)
        return HTMLResponse(list_page(await self._pending(), request.url.path))

    async def _choose(self, request: Request) -> Response:
        fields = await _fields(request)
        decision = _decision(fields.get("decision", ""))
        if not self._knows_key(request) or decision is None:
            return _answer(404, "Not found", _INVALID)
        chosen = next((one for one in await self._pending() if one["reference"] == fields.get("reference")), None)
        if chosen is None:
            return _answer(410, "Too late", _OVER)
        token = await run_in_threadpool(self._tokens.issue, chosen, decision)
        return RedirectResponse(f"/t/{token}", status_code=303)

    async def _question(self, request: Request) -> Response:
        permit, chosen = await self._permitted(request)
        if permit is None:
            return _answer(404, "Not found", _INVALID)
        if chosen is None:
            return _answer(410, "Too late", _OVER)
        push = await run_in_threadpool(push_texts, self._decider, chosen)
        return HTMLResponse(question_page(chosen, permit.decision, request.url.path, push))

    async def _decision(self, request: Request) -> Response:
        permit, chosen = await self._permitted(request)
        if permit is None or (await _fields(request)).get("decision") != permit.decision:
            return _answer(404, "Not found", _INVALID)
        if chosen is None:
            return _answer(410, "Too late", _OVER)
        # The token is used up first: whatever fails now, nobody decides with it again.
        if not await run_in_threadpool(self._tokens.use, permit):
            return _answer(404, "Not found", _INVALID)
        decide = self._decider.approve if permit.decision == "approve" else self._decider.deny
        done = await run_in_threadpool(lambda: decide(permit.reference, who=self._who))
        word = "Approved" if done["state"] == "approved" else "Denied"
        return _answer(200, word, f"{done['slug']}: {done['allows']}")

    async def _permitted(self, request: Request) -> tuple[Permit | None, RequestInfo | None]:
        """Return what the token in the path allows, and the open request that it is for."""
        permit = await run_in_threadpool(self._tokens.find, request.path_params["token"])
        if permit is None:
            return None, None
        return permit, next((one for one in await self._pending() if permit.is_for(one)), None)

    async def _pending(self) -> list[RequestInfo]:
        return (await run_in_threadpool(self._decider.pending))["requests"]

    def _knows_key(self, request: Request) -> bool:
        return self._is_key(request.path_params["key"])

    def _is_key(self, word: str) -> bool:
        return hmac.compare_digest(word.encode(), self._key.encode())


def _decision(word: str) -> Decision | None:
    return "approve" if word == "approve" else "deny" if word == "deny" else None


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; none for one that is malformed or gives a field twice."""
    try:
        found = parse_qs((await request.body()).decode("ascii"), strict_parsing=True, max_num_fields=8)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items() if len(values) == 1}


async def _failed(_request: Request, error: Exception) -> Response:
    return _answer(409, "Not done", str(error))


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _answer(404, "Not found", _INVALID)


def _answer(status: int, title: str, text: str) -> Response:
    return HTMLResponse(message_page(title, text), status)
