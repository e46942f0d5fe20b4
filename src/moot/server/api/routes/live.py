"""The live log of a space: over a WebSocket, and as server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from moot.server.api.call import WithLiveCall, token_of_live
from moot.server.api.failures import answer, detail_of
from moot.server.api.fields import Asked, InPath, storable
from moot.server.api.state import ServerState
from moot.server.database.transaction import Transaction
from moot.server.delivery import connections, feeds, receipts
from moot.server.delivery.feeds import TOO_SLOW, UNAVAILABLE, Closed, Frame, Subscription
from moot.server.events import reading
from moot.server.identity.callers import authenticate
from moot.server.spaces import participants, spaces
from pyro_mcp.errors import InvalidRequest, PyroError, TooManyRequests

router = APIRouter(prefix="/api/spaces/{space_id}", tags=["live"])
_KEEP_ALIVE_SECONDS = 20.0
_LARGEST_FRAME = 65_536
_LONGEST_ID = 200
_TEXT = {"type": "string"}


@asynccontextmanager
async def _subscribed(
    state: ServerState, token: str, space_id: str, since: str | None
) -> AsyncIterator[tuple[Subscription, Frame | None]]:
    """Yield a subscription of the caller with this key, and the frame of its gap. Raises `PyroError` and `Closed`."""
    limits = state.limits
    if len(state.connections) >= limits.sockets:
        raise TooManyRequests("This server has too many live connections", hint="try again later")

    def begin(tx: Transaction) -> tuple[Subscription, Frame | None, str]:
        found, gap = feeds.open_subscription(tx, token, space_id, since, most=limits.resumed_events)
        actor_id, key = found.caller.actor_id, found.room.key
        return found, gap, connections.opened(tx, actor_id, key, most=limits.sockets_per_actor)

    # Before anything is written: a client without a valid key costs one read.
    await asyncio.to_thread(state.database.read, lambda tx: authenticate(tx, token))
    await state.pushes.flush()
    subscription, gap, connection_id = await asyncio.wrap_future(state.database.submit(begin))
    state.connections.add(connection_id)
    try:
        state.feeds.subscribe(subscription)
        try:
            yield subscription, gap
        finally:
            state.feeds.unsubscribe(subscription)
    finally:
        state.connections.discard(connection_id)
        with suppress(PyroError):  # the database is closed, or will forget the connection by its time
            state.database.submit(lambda tx: connections.closed(tx, connection_id))


async def pump(state: ServerState, subscription: Subscription, send: Callable[[Frame], Awaitable[None]]) -> None:
    """Send each frame as it comes, until the subscription ends. Raises `Closed`."""
    while True:
        try:
            if subscription.send_again:
                await state.pushes.flush()
            frames = await state.feeds.next_frames(subscription)
        except PyroError as error:
            raise UNAVAILABLE from error
        for frame in frames:
            try:
                async with asyncio.timeout(state.limits.push_seconds):
                    await send(frame)
            except TimeoutError:
                state.metrics.dropped += 1
                raise TOO_SLOW from None
            state.metrics.frames += 1
            state.pushes.note(subscription, frame)


@router.websocket("/ws")
async def live_socket(socket: WebSocket, space_id: str, since: str | None = None) -> None:
    """Send each event of a space as a frame, and take acknowledgements and heartbeats.

    Close codes: 1012 the server restarts, 1013 the database does not answer, 4401 the key is not valid any more,
    4403 the sponsor has ended the connections, 4408 too slow. A client then connects again with `since`, the number of
    the last event that it has got.
    """
    state: ServerState = socket.app.state.server
    try:
        for given in (space_id, since or ""):
            _require_word(given)
        token = token_of_live(socket)
        state.rates.take(token)
        async with _subscribed(state, token, space_id, since) as (subscription, gap):
            await socket.accept()
            await _serve(state, socket, subscription, gap)
    except PyroError as error:
        with suppress(WebSocketDisconnect, RuntimeError):  # the client has gone before the answer
            await socket.send_denial_response(answer(error))
    except Closed as end:
        with suppress(WebSocketDisconnect, RuntimeError):
            await socket.close(end.code, end.reason)


def _require_word(text: str) -> None:
    """Raise `InvalidRequest` for a text that is no id."""
    try:
        storable(text)
    except ValueError as error:
        raise InvalidRequest(f"an id {error}") from None
    if len(text) > _LONGEST_ID:
        raise InvalidRequest(f"an id has at most {_LONGEST_ID} characters")


async def _serve(state: ServerState, socket: WebSocket, subscription: Subscription, gap: Frame | None) -> None:
    """Send and receive until either side ends. Raises `Closed`."""
    if gap is not None:
        await socket.send_text(gap.text)
    sending = asyncio.ensure_future(pump(state, subscription, lambda frame: socket.send_text(frame.text)))
    receiving = asyncio.ensure_future(_receive(state, socket, subscription))
    try:
        await asyncio.wait((sending, receiving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, receiving):
            task.cancel()
        results = await asyncio.gather(sending, receiving, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect | RuntimeError):
            raise result


async def _receive(state: ServerState, socket: WebSocket, subscription: Subscription) -> None:
    """Handle the frames of a client, heartbeats and acknowledgements, at the rate of its key. Ignore others."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        await state.rates.wait(subscription.token)
        text = message.get("text")  # a binary frame has none
        try:
            frame = json.loads(text) if text and len(text) <= _LARGEST_FRAME else None
        except (ValueError, RecursionError):
            frame = None
        if isinstance(frame, dict):
            await _take(state, subscription, frame)


async def _take(state: ServerState, subscription: Subscription, frame: dict[str, object]) -> None:
    room, actor_id = subscription.room, subscription.caller.actor_id
    if frame.get("type") == "heartbeat":
        work = state.database.submit(lambda tx: participants.touch(tx, room.key, actor_id))
        await asyncio.wrap_future(work)
    elif frame.get("type") == "ack":
        await state.pushes.flush()

        def acknowledge(tx: Transaction) -> int:
            authenticate(tx, subscription.token)
            event_id, sequence = frame.get("event_id"), frame.get("sequence")
            now = spaces.by_key(tx, room.key)
            if isinstance(event_id, str):
                _require_word(event_id)
                receipts.acknowledge(tx, now, actor_id, [reading.one(tx, now, event_id).sequence])
            elif isinstance(sequence, int) and 0 <= sequence < 2**62:
                return receipts.acknowledge_up_to(tx, now, actor_id, sequence).acknowledged_sequence
            else:
                raise InvalidRequest("an ack frame has either a sequence or an event_id")
            return receipts.cursor(tx, now, actor_id).acknowledged_sequence

        try:
            reached = await asyncio.wrap_future(state.database.submit(acknowledge))
            reply: dict[str, object] = {"type": "acknowledged", "sequence": reached}
        except PyroError as error:
            reply = {"type": "error", "code": error.code, "detail": detail_of(error)}
        subscription.asides.append(Frame(json.dumps(reply)))
        subscription.wake.set()


class _EventStream(Response):
    """An answer of server-sent events, one for each frame; the id of each is its sequence number."""

    def __init__(self, state: ServerState, token: str, space_id: str, since: str | None) -> None:
        super().__init__(media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._state = state
        self._wanted = (token, space_id, since)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with _subscribed(self._state, *self._wanted) as (subscription, gap):
                head = [one for one in self.raw_headers if one[0] != b"content-length"]
                await send({"type": "http.response.start", "status": 200, "headers": head})
                await self._serve(subscription, gap, receive, send)
        except PyroError as error:
            await answer(error)(scope, receive, send)
        except Closed as end:
            with suppress(OSError):
                words = json.dumps({"code": end.code, "reason": end.reason})
                await send(_body(f"event: close\ndata: {words}\n\n", more=False))

    async def _serve(self, subscription: Subscription, gap: Frame | None, receive: Receive, send: Send) -> None:
        async def send_frame(frame: Frame) -> None:
            number = f"id: {frame.sequence}\n" if frame.sequence else ""
            await send(_body(f"{number}data: {frame.text}\n\n"))

        async def keep_alive() -> None:
            while True:
                await send(_body(": keep-alive\n\n"))
                await asyncio.sleep(_KEEP_ALIVE_SECONDS)

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        if gap is not None:
            await send_frame(gap)
        work = (pump(self._state, subscription, send_frame), keep_alive(), gone())
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result


def _body(text: str, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


@router.get(
    "/events/stream", response_class=Response, responses={200: {"content": {"text/event-stream": {"schema": _TEXT}}}}
)
async def live_stream(request: Request, space_id: InPath, call: WithLiveCall, since: Asked = None) -> Response:
    """Send each event of a space as a server-sent event, after `since` or the header Last-Event-ID."""
    return _EventStream(call.state, call.token, space_id, since or request.headers.get("last-event-id"))
