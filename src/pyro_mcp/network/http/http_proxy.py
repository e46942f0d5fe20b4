"""The requests of a machine to a host that has secrets, and their answers, as they pass from one to the other."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import h11

from pyro_mcp.network.http import http_rules
from pyro_mcp.network.http.gzip_content import GzipContent
from pyro_mcp.network.http.http_rules import Improper
from pyro_mcp.network.http.tls_socket import TlsLine
from pyro_mcp.network.policy.rules import HostSecret
from pyro_mcp.redaction import Mask

_IDLE_SECONDS = 75.0
_ANSWER_SECONDS = 900.0
_BODILESS = frozenset({204, 304})
_PARTIAL = 206


class Exchange:
    """Everything that goes over one connection of the machine's, `guest`, to the host and port of `place`.

    Each side's HTTP is taken apart and said anew, so that both agree where a message ends. `connect` gives the line to
    the host when the first proper request has come; it raises `Improper`.
    """

    def __init__(
        self,
        guest: TlsLine,
        place: tuple[str, int],
        secrets: Sequence[HostSecret],
        mask: Mask,
        connect: Callable[[], TlsLine],
    ) -> None:
        self._guest = guest
        self._host: TlsLine | None = None
        self._name, self._port = place
        self._secrets, self._mask, self._connect = secrets, mask, connect
        self._asked = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * http_rules.LARGEST_HEADER)
        self._asking = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * http_rules.LARGEST_HEADER)
        self._body = mask.stream()
        self._packed: GzipContent | None = None
        self._method = b""
        self._answered = 0

    def run(self) -> None:
        """Pass on until one side has ended or has been silent for too long; raises `OSError` when one breaks."""
        try:
            while self._wait():
                self._take()
                self._take_torn_ends()
                if self._is_over():
                    break
        except Improper as error:
            self._answer(error.status, str(error))
        except h11.RemoteProtocolError as error:
            self._give_up(error)
        except h11.LocalProtocolError as error:
            self._answer(502, f"what came cannot be passed on: {error}")
        finally:
            if self._host is not None:
                self._host.close()
        self._write_out()

    def _wait(self) -> bool:
        """Wait until something can move, then read and write what is ready; whether anything happened in time."""
        hungry = self._asked.their_state in (h11.IDLE, h11.SEND_BODY) and not (self._host and self._host.full)
        lines = [(self._guest, self._asked, hungry)]
        if self._host is not None:
            lines.append((self._host, self._asking, not self._guest.full))
        poll = select.poll()
        for line, _, reads in lines:
            wanted = line.interest(reads=reads) | (select.POLLRDHUP if line is self._guest else 0)
            if wanted:  # the end of a host that is not read now would be told again and again
                poll.register(line, wanted)
        seconds = _IDLE_SECONDS if self._asked.their_state is h11.IDLE else _ANSWER_SECONDS
        ready = dict(poll.poll(seconds * 1000))
        for line, connection, reads in lines:
            events = ready.get(line.fileno(), 0)
            if not reads and events & ~(select.POLLIN | select.POLLOUT) and line is self._guest:
                return False  # it is gone; the answer that it waits for is of no use to anybody
            if events & select.POLLOUT:
                line.flush()
            if reads and events:
                _receive(line, connection)
        return bool(ready)

    def _take(self) -> None:
        """Pass on what has come, and begin anew as often as a request and its answer are complete."""
        self._take_requests()
        self._take_answers()
        while all(state is h11.DONE for state in self._states()) and not self._speaks_unasked():
            self._asked.start_next_cycle()
            self._asking.start_next_cycle()
            self._answered += 1
            self._take_requests()
            self._take_answers()

    def _take_torn_ends(self) -> None:
        """An end without a goodbye is one all the same, but not for an answer that goes on until the end."""
        if self._host is not None and self._host.torn:
            if self._asking.their_state is h11.SEND_BODY:
                raise ConnectionResetError("the answer broke off")
            self._asking.receive_data(b"")
            self._take_answers()
        if self._guest.torn:
            self._asked.receive_data(b"")
            self._take_requests()

    def _states(self) -> list[object]:
        return [
            self._asked.our_state,
            self._asked.their_state,
            self._asking.our_state,
            self._asking.their_state,
        ]

    def _take_requests(self) -> None:
        while True:
            event = self._asked.next_event()
            if isinstance(event, h11.Request):
                http_rules.check(event, self._name, self._port)
                if self._host is None:
                    self._host = self._connect()
                self._method = event.method
                self._to_host(http_rules.to_host(event, self._secrets))
            elif isinstance(event, h11.Data):
                self._to_host(event)
            elif isinstance(event, h11.EndOfMessage):
                self._to_host(h11.EndOfMessage(headers=event.headers))
            else:
                return  # more must come first, or nothing more will

    def _take_answers(self) -> None:
        while self._host is not None and self._asking.our_state is not h11.IDLE:
            if self._packed is not None and not self._unpack(self._packed):
                return
            event = self._asking.next_event()
            if isinstance(event, h11.InformationalResponse):
                headers = http_rules.to_guest(event, self._mask)
                self._to_guest(h11.InformationalResponse(status_code=event.status_code, headers=headers))
            elif isinstance(event, h11.Response):
                self._packed = self._unpacking(event)
                reason = self._mask.bytes(event.reason)
                headers = http_rules.to_guest(event, self._mask, unpacked=self._packed is not None)
                self._to_guest(h11.Response(status_code=event.status_code, headers=headers, reason=reason))
            elif isinstance(event, h11.Data):
                if self._packed is not None:
                    self._packed.take(bytes(event.data))
                else:
                    self._to_guest(h11.Data(data=self._body.feed(bytes(event.data))))
            elif isinstance(event, h11.EndOfMessage):
                left = self._body.feed(self._packed.finish()) if self._packed is not None else b""
                self._packed = None
                self._to_guest(h11.Data(data=left + self._body.finish()))
                trailers = http_rules.masked(event.headers.raw_items(), self._mask)
                self._to_guest(h11.EndOfMessage(headers=trailers))
            else:
                return

    def _unpacking(self, answer: h11.Response) -> GzipContent | None:
        """What unpacks the answer's content, if it must be; raises `Improper` for what nobody here can unpack."""
        coding = http_rules.coding_of(answer)
        if not coding or self._method == b"HEAD" or answer.status_code in _BODILESS:
            return None
        if coding not in ("gzip", "x-gzip") or answer.status_code == _PARTIAL:
            raise Improper(502, f"{self._name} compressed its answer ({coding}) although it was asked not to")
        return GzipContent()

    def _unpack(self, packed: GzipContent) -> bool:
        """Pass on what can be unpacked; whether that was all, not only all that the machine has room for."""
        while packed.waiting and not self._guest.full:
            self._to_guest(h11.Data(data=self._body.feed(packed.piece())))
        return not packed.waiting

    def _to_guest(self, event: h11.Event) -> None:
        if not isinstance(event, h11.Data) or event.data:
            self._guest.write(self._asked.send(event) or b"")

    def _to_host(self, event: h11.Event) -> None:
        assert self._host is not None
        if self._asking.our_state in (h11.IDLE, h11.SEND_BODY):
            self._host.write(self._asking.send(event) or b"")

    def _speaks_unasked(self) -> bool:
        """Whether the host has sent more than answers: the next request must not get that for one."""
        silent = self._asking.our_state is h11.IDLE or self._asking.their_state is h11.DONE
        return silent and bool(self._asking.trailing_data[0])

    def _is_over(self) -> bool:
        """Whether no more will come: an answer was the last one, or one side has ended."""
        if self._speaks_unasked():
            return True
        if self._asked.our_state in (h11.MUST_CLOSE, h11.CLOSED, h11.ERROR):
            return True
        if self._asked.our_state is h11.DONE and self._asking.their_state is not h11.DONE:
            return True
        if self._asked.our_state is h11.DONE and self._asking.our_state is h11.MUST_CLOSE:
            return True
        if self._guest.ended and self._asked.their_state is not h11.DONE:
            return True
        waiting = self._packed is not None and self._packed.waiting
        return self._host is not None and self._host.ended and not waiting

    def _give_up(self, error: h11.RemoteProtocolError) -> None:
        if self._asked.their_state is h11.ERROR:
            self._answer(error.error_status_hint, f"that is no proper HTTP: {error}")
        elif self._answered == 0:
            self._answer(502, f"{self._name} did not answer in proper HTTP: {error}")
        # Later a host may hang up just as the next request comes: then so do we, and the client asks again.

    def _answer(self, status: int, why: str) -> None:
        """Tell the machine why not, unless an answer has begun already."""
        if self._asked.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = f"pyro: {self._mask.text(why)}\n".encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), ("Connection", "close")]
        with suppress(h11.LocalProtocolError):
            self._to_guest(h11.Response(status_code=status, headers=headers))
            self._to_guest(h11.Data(data=b"" if self._method == b"HEAD" else body))
            self._to_guest(h11.EndOfMessage())

    def _write_out(self) -> None:
        """Let the machine read what still has to be written."""
        end = time.monotonic() + _IDLE_SECONDS
        while not self._guest.drained and time.monotonic() < end:
            poll = select.poll()
            poll.register(self._guest, select.POLLOUT)
            poll.poll(max(0.0, end - time.monotonic()) * 1000)
            self._guest.flush()


def _receive(line: TlsLine, connection: h11.Connection) -> None:
    if line.ended:
        return
    data = line.read()
    if data:
        connection.receive_data(data)
    if line.ended and not line.torn:
        connection.receive_data(b"")
