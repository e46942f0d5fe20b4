"""The HTTP proxy between a guest and a site: it reads each request and each response."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import h11

from pyro_mcp.network.http import message_rules
from pyro_mcp.network.http.gzip_content import GzipContent
from pyro_mcp.network.http.message_rules import RejectedRequest
from pyro_mcp.network.http.metered import Meter, MeteredExchange
from pyro_mcp.network.http.plain_socket import PlainSocket
from pyro_mcp.network.http.tunnel import drain, tunnel
from pyro_mcp.network.policy.host_secret import HostSecret
from pyro_mcp.network.policy.request_rule import RequestRule, shown_path
from pyro_mcp.redaction import Mask

_IDLE_SECONDS = 75.0
_ANSWER_SECONDS = 900.0
_HEAD_SECONDS = 60.0
_BODILESS = frozenset({204, 304})
_PARTIAL = 206
_SWITCHING_PROTOCOLS = 101


_Result = TypeVar("_Result")
Report = Callable[[str, tuple[str, str], str, Sequence[str]], str]
"""A function that records a request before it is passed on; see `PolicyClient.report_request`.

It takes "allowed" or "refused", method and path without the query, the reason of a refusal, and the names of secrets.
"""


@dataclass(frozen=True)
class Site:
    """The site of a connection: name and port, its own secrets, the mask for them, and the rules for requests to it.

    With `meter` it is the API of a model, whose requests are counted.
    """

    name: str
    port: int
    secrets: Sequence[HostSecret]
    mask: Mask
    rules: Sequence[RequestRule]
    report: Report
    meter: Meter | None = None


class HttpProxy:
    """The proxy for one connection of a guest, `guest`, to `site`.

    It parses the HTTP of each side and writes it again, so that both sides agree where a message ends. `connect` opens
    the connection to the site when the first valid request has arrived; it raises `RejectedRequest`.
    """

    def __init__(self, guest: PlainSocket, site: Site, connect: Callable[[], PlainSocket]) -> None:
        self._guest = guest
        self._server: PlainSocket | None = None
        self._site, self._mask, self._connect = site, site.mask, connect
        self._guest_http = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * message_rules.LARGEST_HEADER)
        self._server_http = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * message_rules.LARGEST_HEADER)
        self._body = site.mask.stream()
        self._gzip: GzipContent | None = None
        self._metered = None if site.meter is None else MeteredExchange(site.meter, site.name)
        self._method = b""
        self._responses = 0
        self._switched = False
        self._head_end: float | None = None

    def run(self) -> None:
        """Pass messages on until one side ends or is silent for too long; raises `OSError` when a connection breaks."""
        try:
            while self._wait():
                self._take()
                if self._switched:
                    self._tunnel()
                    break
                self._take_unclean_ends()
                if self._is_over():
                    break
        except RejectedRequest as error:
            self._answer(error.status, f"{error}{error.advice}")
        except h11.RemoteProtocolError as error:
            self._give_up(error)
        except h11.LocalProtocolError as error:
            self._answer(502, f"the message cannot be passed on: {error}")
        finally:
            if self._metered is not None:
                self._metered.close()
            if self._server is not None:
                self._server.close()
        drain(self._guest, _IDLE_SECONDS)

    def _wait(self) -> bool:
        """Wait, then read and write what is ready; return False when nothing happened in time."""
        server_full = self._server is not None and self._server.full
        wants_request = self._guest_http.their_state in (h11.IDLE, h11.SEND_BODY) and not server_full
        sides = [(self._guest, self._guest_http, wants_request)]
        if self._server is not None:
            sides.append((self._server, self._server_http, not self._guest.full))
        poll = select.poll()
        for sock, _, reads in sides:
            is_guest = sock is self._guest
            wanted = sock.interest(reads=reads) | (sock.end_of_peer if is_guest else 0)
            if wanted or is_guest:  # poll would report the end of an unread side again and again
                poll.register(sock, wanted)
        ready = dict(poll.poll(self._patience() * 1000))
        for sock, connection, reads in sides:
            events = ready.get(sock.fileno(), 0)
            if not reads and events & ~(select.POLLIN | select.POLLOUT) and sock is self._guest:
                return False  # the guest is gone, so nobody reads the response
            if events & select.POLLOUT:
                sock.flush()
            if reads and events:
                _receive(sock, connection)
        return bool(ready) or self._head_end is not None

    def _patience(self) -> float:
        """Return how long to wait for either side; raise `RejectedRequest` when a request's header takes too long."""
        if self._guest_http.their_state is not h11.IDLE:
            self._head_end = None
            return _ANSWER_SECONDS
        if not self._guest_http.trailing_data[0]:
            self._head_end = None
            return _IDLE_SECONDS
        now = time.monotonic()
        if self._head_end is None:
            self._head_end = now + _HEAD_SECONDS
        if now >= self._head_end:
            raise RejectedRequest(408, "the request's header did not arrive in time")
        return self._head_end - now

    def _take(self) -> None:
        """Pass on what has arrived; start the next cycle whenever a request and its response are complete."""
        self._take_requests()
        self._take_responses()
        while all(state is h11.DONE for state in self._states()) and not self._has_unexpected_data():
            self._guest_http.start_next_cycle()
            self._server_http.start_next_cycle()
            self._responses += 1
            self._take_requests()
            self._take_responses()

    def _take_unclean_ends(self) -> None:
        """Treat an end without close_notify as an end, unless the response lasts until the end of the connection."""
        if self._server is not None and self._server.unclean_eof:
            if self._server_http.their_state is h11.SEND_BODY:
                raise ConnectionResetError("the response is incomplete")
            self._server_http.receive_data(b"")
            self._take_responses()
        if self._guest.unclean_eof:
            self._guest_http.receive_data(b"")
            self._take_requests()

    def _states(self) -> list[object]:
        return [
            self._guest_http.our_state,
            self._guest_http.their_state,
            self._server_http.our_state,
            self._server_http.their_state,
        ]

    def _take_requests(self) -> None:
        while True:
            event = self._guest_http.next_event()
            if isinstance(event, h11.Request):
                self._check(event)
                if self._metered is not None:
                    self._hold(self._metered, event)
                if not self._is_holding():
                    self._send_request(event)
            elif isinstance(event, h11.Data):
                self._take_content(event)
            elif isinstance(event, h11.EndOfMessage):
                self._send_held()
                # Some servers add trailers to the header, which has been checked already.
                plain = self._site.rules or self._metered is not None
                self._to_server(h11.EndOfMessage(headers=[] if plain else event.headers))
            else:
                return  # incomplete, or at its end

    def _send_request(self, request: h11.Request) -> None:
        used = message_rules.secrets_used(request, self._site.secrets)
        if reason := self._site.report("allowed", self._seen(request.target), "", used):
            raise RejectedRequest(403, reason)
        if self._server is None:
            self._server = self._connect()
        metered = self._metered is not None
        self._to_server(message_rules.to_server(request, self._site.secrets, readable=metered))

    def _is_holding(self) -> bool:
        return self._metered is not None and self._metered.holds

    def _hold(self, metered: MeteredExchange, request: h11.Request) -> None:
        """Hold a metered request until it is complete; report and raise `RejectedRequest` if it cannot be counted."""
        self._refusing(request.target, lambda: metered.begin(request))
        if metered.holds and self._guest_http.they_are_waiting_for_100_continue:
            self._to_guest(h11.InformationalResponse(status_code=100, headers=[]))

    def _take_content(self, event: h11.Data) -> None:
        if self._metered is not None and self._metered.holds:
            self._metered.add(bytes(event.data))
        else:
            self._to_server(event)

    def _send_held(self) -> None:
        """Send a metered request that is complete, if its supervisor lets it pass."""
        if self._metered is None or not self._metered.holds:
            return
        if self._server is None:
            self._server = self._connect()  # a request that cannot be sent reserves nothing
        metered, target = self._metered, self._metered.target
        request, content = self._refusing(target, metered.reserve)
        try:
            self._send_request(request)
        except RejectedRequest:
            metered.cancel()
            raise
        self._to_server(h11.Data(data=content))

    def _refusing(self, target: bytes, action: Callable[[], _Result]) -> _Result:
        """Do `action`; if it raises `RejectedRequest`, report the request as refused."""
        try:
            return action()
        except RejectedRequest as error:
            self._report_refusal(target, error)

    def _check(self, request: h11.Request) -> None:
        """Raise `RejectedRequest`, and report it, unless the request may be passed on."""
        self._method = request.method
        site = self._site
        self._refusing(request.target, lambda: message_rules.check(request, site.name, site.port))
        self._refusing(request.target, lambda: message_rules.check_rules(request, site.name, site.rules))

    def _report_refusal(self, target: bytes, error: RejectedRequest) -> NoReturn:
        text = self._site.report("refused", self._seen(target), str(error), ())
        raise RejectedRequest(error.status, str(error), f"{error.advice} {text}".rstrip()) from None

    def _seen(self, target: bytes) -> tuple[str, str]:
        return self._method.decode("ascii"), shown_path(target.decode("latin-1"))

    def _take_responses(self) -> None:
        while self._server is not None and self._server_http.our_state is not h11.IDLE:
            if self._gzip is not None and not self._pass_decompressed(self._gzip):
                return
            event = self._server_http.next_event()
            if isinstance(event, h11.InformationalResponse):
                headers = message_rules.to_guest(event, self._mask)
                self._to_guest(h11.InformationalResponse(status_code=event.status_code, headers=headers))
                self._switched = event.status_code == _SWITCHING_PROTOCOLS
            elif isinstance(event, h11.Response):
                self._body = self._mask.stream(prompt=message_rules.is_live(event))
                self._gzip = self._decompressor(event)
                reason = self._mask.bytes(event.reason)
                headers = message_rules.to_guest(event, self._mask, decompressed=self._gzip is not None)
                self._to_guest(h11.Response(status_code=event.status_code, headers=headers, reason=reason))
                if self._metered is not None:
                    self._metered.answer(event)
            elif isinstance(event, h11.Data):
                if self._gzip is not None:
                    self._gzip.take(bytes(event.data))
                else:
                    self._pass(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                if self._gzip is not None:
                    self._pass(self._gzip.finish())
                    self._gzip = None
                self._to_guest(h11.Data(data=self._body.finish()))
                if self._metered is not None:
                    self._metered.end()
                trailers = message_rules.masked(event.headers.raw_items(), self._mask)
                self._to_guest(h11.EndOfMessage(headers=trailers))
            else:
                return

    def _tunnel(self) -> None:
        """Pass on what follows a change of protocol."""
        assert self._server is not None
        stream = self._mask.stream(prompt=True)
        self._server.write(self._guest_http.trailing_data[0])
        self._guest.write(stream.feed(self._server_http.trailing_data[0]))
        tunnel(self._guest, self._server, stream)

    def _decompressor(self, response: h11.Response) -> GzipContent | None:
        """Return a decompressor if the response needs one; raises `RejectedRequest` for an unsupported coding."""
        coding = message_rules.content_coding(response) if self._mask or self._metered is not None else ""
        if not coding or self._method == b"HEAD" or response.status_code in _BODILESS:
            return None
        if coding not in ("gzip", "x-gzip") or response.status_code == _PARTIAL:
            raise RejectedRequest(502, f"{self._site.name} compressed its response ({coding}) without being asked")
        return GzipContent()

    def _pass_decompressed(self, gzip: GzipContent) -> bool:
        """Pass decompressed content on while the guest has room; return whether that was all."""
        while gzip.waiting and not self._guest.full:
            self._pass(gzip.piece())
        return not gzip.waiting

    def _pass(self, content: bytes) -> None:
        """Send content of the response to the guest, and then count it."""
        self._to_guest(h11.Data(data=self._body.feed(content)))
        if self._metered is not None:
            self._metered.feed(content)

    def _to_guest(self, event: h11.Event) -> None:
        if not isinstance(event, h11.Data) or event.data:
            self._guest.write(self._guest_http.send(event) or b"")

    def _to_server(self, event: h11.Event) -> None:
        assert self._server is not None
        if self._server_http.our_state in (h11.IDLE, h11.SEND_BODY):
            self._server.write(self._server_http.send(event) or b"")

    def _has_unexpected_data(self) -> bool:
        """Return whether the site has sent data after its response, which must not become the next response."""
        silent = self._server_http.our_state is h11.IDLE or self._server_http.their_state is h11.DONE
        return silent and bool(self._server_http.trailing_data[0])

    def _is_over(self) -> bool:
        """Return whether the connection is over: after the last response, or when one side has ended."""
        if self._has_unexpected_data():
            return True
        if self._guest_http.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            return True
        if self._guest_http.our_state is h11.DONE and self._server_http.their_state is not h11.DONE:
            return True
        if self._guest_http.our_state is h11.DONE and self._server_http.our_state is h11.MUST_CLOSE:
            return True
        if self._guest.ended and self._guest_http.their_state is not h11.DONE:
            return True
        waiting = self._gzip is not None and self._gzip.waiting
        return self._server is not None and self._server.ended and not waiting

    def _give_up(self, error: h11.RemoteProtocolError) -> None:
        if self._guest_http.their_state is h11.ERROR:
            self._answer(error.error_status_hint, f"the request is not valid HTTP: {error}")
        elif self._responses == 0:
            self._answer(502, f"the response of {self._site.name} is not valid HTTP: {error}")
        # After the first response a site may close the connection just as the next request arrives: the client retries.

    def _answer(self, status: int, reason: str) -> None:
        """Answer the guest with the reason, unless a response has begun already."""
        if self._guest_http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        text = f"pyro: {self._mask.text(reason)}"
        if self._metered is not None:
            headers, body = self._metered.error(status, text)
        else:
            headers, body = [("Content-Type", "text/plain")], f"{text}\n".encode()
        headers += [("Content-Length", str(len(body))), ("Connection", "close")]
        with suppress(h11.LocalProtocolError):
            self._to_guest(h11.Response(status_code=status, headers=headers))
            self._to_guest(h11.Data(data=b"" if self._method == b"HEAD" else body))
            self._to_guest(h11.EndOfMessage())


def _receive(sock: PlainSocket, connection: h11.Connection) -> None:
    if sock.ended:
        return
    data = sock.read()
    if data:
        connection.receive_data(data)
    if sock.ended and not sock.unclean_eof:
        connection.receive_data(b"")
