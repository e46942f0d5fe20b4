"""What a person does in a browser: a session, and allowing a program to fetch a key (OAuth with PKCE)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from moot.server.api.call import COOKIE, WithCall, session_of
from moot.server.api.failures import detail_of
from moot.server.api.requests import SessionRequest
from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.errors import Forbidden, status_of
from moot.server.identity import derived, grants
from moot.server.identity.callers import INSTALL, authenticate
from moot.server.identity.tokens import SESSION
from moot.server.results import Done, FetchedKey
from pyro_mcp.errors import InvalidRequest, PyroError

router = APIRouter(tags=["browser"])
_SESSION_SECONDS = 12 * 3600
_FIELDS = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
_FORM: dict[str, Any] = {
    "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": {"type": "object"}}}, "required": True}
}
_REFUSED: dict[int | str, dict[str, Any]] = {400: {"description": "The code is not valid."}}
_HTML: dict[int | str, dict[str, Any]] = {
    one: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "A page for a person."}
    for one in (400, 401, 403, 422, 429)
}


@router.post("/auth/request")
def begin_session(body: SessionRequest, request: Request) -> Response:
    """Make a session of a browser with a personal access token; its key is in a cookie that no script can read."""
    state: ServerState = request.app.state.server
    state.rates.take(body.token)

    def work(tx: Transaction) -> str:
        caller = authenticate(tx, body.token)
        if not caller.credential_id.startswith("pat_"):
            raise Forbidden("A session begins with a personal access token")
        return derived.create(
            tx, caller.actor_id, SESSION, kind="session", parent_id=caller.credential_id, seconds=_SESSION_SECONDS
        )

    answer = JSONResponse({"status": "ok"})
    answer.set_cookie(
        COOKIE,
        state.database.write(work),
        max_age=_SESSION_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post("/auth/logout")
def end_session(call: WithCall) -> Response:
    """End the session of a browser."""
    call.write(lambda tx, _: derived.revoke_token(tx, call.token))
    answer = JSONResponse(Done(status="ended").model_dump())
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/oauth/authorize", response_class=HTMLResponse, responses=_HTML)
async def ask_person(request: Request) -> Response:
    """Return a page on which a person allows a program to fetch a key, or refuses."""
    try:
        wish = grants.wish_of(request.query_params)
        return _page(_question(request, wish), wish=wish)
    except PyroError as error:
        return _problem(error)


@router.post("/oauth/authorize", response_class=HTMLResponse, responses=_HTML, openapi_extra=_FORM, status_code=303)
async def answer_of_person(request: Request) -> Response:
    """Take the person's answer, and send the browser back to the program with a code or a refusal."""
    state: ServerState = request.app.state.server
    try:
        if urlsplit(request.headers.get("origin", "")).netloc != request.headers.get("host"):
            raise Forbidden("This form was sent by a page of another address")
        given = await _form(request)
        wish = grants.wish_of(given)
        more = {"state": wish.state} if wish.state else {}
        if given.get("answer") != "allow":
            return _back(wish, {"error": "access_denied", **more})
        token = given.get("token", "").strip() or session_of(request)
        state.rates.take(token)
        work = state.database.submit(lambda tx: grants.allow(tx, authenticate(tx, token), wish))
        return _back(wish, {"code": await asyncio.wrap_future(work), **more})
    except PyroError as error:
        return _problem(error)


@router.post("/oauth/token", response_model=FetchedKey, responses=_REFUSED, openapi_extra=_FORM)
async def fetch_key(request: Request) -> Response:
    """Return the key for a code; each code works once."""
    state: ServerState = request.app.state.server
    state.rates.take("")
    given = await _form(request)
    if given.get("grant_type") != "authorization_code":
        return _refusal("unsupported_grant_type")
    key = await asyncio.wrap_future(state.database.submit(lambda tx: grants.fetch(tx, given)))
    if key is None:
        return _refusal("invalid_grant")
    found = FetchedKey(access_token=key, expires_in=grants.KEY_SECONDS, scope=INSTALL)
    return JSONResponse(found.model_dump(), headers={"Cache-Control": "no-store"})


@router.post("/oauth/revoke", openapi_extra=_FORM)
async def revoke_key(request: Request) -> Done:
    """Make a key invalid that a program has fetched. The answer is the same for each key."""
    state: ServerState = request.app.state.server
    state.rates.take("")
    given = await _form(request)
    await asyncio.wrap_future(state.database.submit(lambda tx: derived.revoke_token(tx, given.get("token", ""))))
    return Done(status="ok")


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises `InvalidRequest` when the body is not a form."""
    try:
        text = (await request.body()).decode("ascii")
        fields = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=50))
    except ValueError:
        raise InvalidRequest("the body must be a form (application/x-www-form-urlencoded)") from None
    if any("\x00" in value or not value.isprintable() for value in fields.values()):
        raise InvalidRequest("a field of the form has characters that cannot be printed")
    return fields


def _refusal(code: str) -> Response:
    return JSONResponse({"error": code}, 400, {"Cache-Control": "no-store"})


def _back(wish: grants.Wish, found: Mapping[str, str]) -> Response:
    mark = "&" if "?" in wish.redirect_uri else "?"
    return RedirectResponse(f"{wish.redirect_uri}{mark}{urlencode(found)}", 303, {"Cache-Control": "no-store"})


def _question(request: Request, wish: grants.Wish) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(request.query_params.get(name, ""))}">' for name in _FIELDS
    )
    token = (
        ""
        if session_of(request)
        else ('<p><label>Your personal access token: <input type="password" name="token" required></label></p>')
    )
    place = escape(urlsplit(wish.redirect_uri).netloc)
    return (
        f"<h1>Allow {escape(wish.client_id)} to install teams?</h1>"
        f"<p>The program listens at {place}. With the key that it gets, it can make spaces and agents in your name for "
        "an hour, and nothing else. Allow it only if you have just started it yourself.</p>"
        f'<form method="post" action="authorize">{hidden}{token}'
        '<button name="answer" value="allow">Allow</button> '
        '<button name="answer" value="deny" formnovalidate>Refuse</button></form>'
    )


def _problem(error: PyroError) -> Response:
    return _page(f"<h1>This cannot be done</h1><p>{escape(detail_of(error))}</p>", status=status_of(error))


def _page(body: str, *, status: int = 200, wish: grants.Wish | None = None) -> Response:
    # A browser applies form-action to where the form leads in the end, too.
    places = f"'self' http://{urlsplit(wish.redirect_uri).netloc}" if wish is not None else "'none'"
    headers = {
        "Content-Security-Policy": f"default-src 'none'; form-action {places}; frame-ancestors 'none'; base-uri 'none'",
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    text = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>moot</title><body>{body}</body></html>'
    return HTMLResponse(text, status, headers)
