"""The requests of one connection to the API of a model: each is read whole, reserved, then sent; its usage is reported.

A request that cannot be counted, or that its supervisor refuses, is answered in the form of the API.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass

import h11

from pyro_mcp.network.http.message_rules import RejectedRequest
from pyro_mcp.network.metering.answer import AnswerReader, error, is_free, read_request
from pyro_mcp.network.metering.document import Uncountable
from pyro_mcp.network.metering.values import NOTHING_USED, Api, ModelRefusal, ModelSupervisor, ModelUsage, Reservation
from pyro_mcp.network.policy.request_rule import UnclearPath, is_override, plain_path

MOST_REQUEST_BYTES = 32 * 1024 * 1024
"""The largest request to Anthropic's API (413 above); no request to OpenAI's is known to be larger."""
_MOST_HELD_BYTES = 256 * 1024 * 1024
_REFUSED, _TOO_LARGE, _LATER = 400, 413, 503
_SECONDS_LATER = 5
_JSON = re.compile(rb"application/json(?:\s*;\s*charset=\"?utf-8\"?)?")
_PIECEWISE = frozenset({b"range", b"if-range"})


@dataclass(frozen=True)
class Meter:
    """The API at a site, and the supervisor that knows its budget; without one every request is refused."""

    api: Api
    supervisor: ModelSupervisor | None


class _Held:
    """The bytes of all requests that are held in this process."""

    def __init__(self, most: int) -> None:
        self._lock, self._most, self._now = threading.Lock(), most, 0

    def take(self, count: int) -> bool:
        with self._lock:
            if self._now + count > self._most:
                return False
            self._now += count
            return True

    def give_back(self, count: int) -> None:
        with self._lock:
            self._now -= count


_held = _Held(_MOST_HELD_BYTES)


class MeteredExchange:
    """The present request of a connection, which is being read or answered; `close` it when the connection ends."""

    def __init__(self, meter: Meter, host: str) -> None:
        self._meter, self._host = meter, host
        self._request: h11.Request | None = None
        self._path = ""
        self._content = bytearray()
        self._reservation: Reservation | None = None
        self._answer: AnswerReader | None = None

    @property
    def holds(self) -> bool:
        """Whether a request is being read, none of which may be sent yet."""
        return self._request is not None

    @property
    def target(self) -> bytes:
        """The target of the held request."""
        assert self._request is not None
        return bytes(self._request.target)

    def begin(self, request: h11.Request) -> None:
        """Look at the header of a request, and hold the request unless it costs nothing; raises `RejectedRequest`."""
        method, target = request.method.decode("ascii"), request.target
        fields = [(key, value.strip().lower()) for key, value in request.headers]
        try:
            path = plain_path(target.partition(b"?")[0]) if target != b"*" else "*"
        except UnclearPath as unclear:
            raise self._uncountable(str(unclear)) from None
        if any(is_override(key) for key, _ in fields):
            raise self._uncountable("its header may change its method or path")
        if any(key == b"upgrade" for key, _ in fields):
            raise self._uncountable("a WebSocket is not counted")
        if is_free(self._meter.api, method, path):
            return
        if any(key == b"content-encoding" and value != b"identity" for key, value in fields):
            raise self._uncountable("its content is compressed")
        if not all(_JSON.fullmatch(value) for key, value in fields if key == b"content-type"):
            raise self._uncountable("its content is not application/json in UTF-8")
        self._request, self._path = request, path

    def add(self, content: bytes) -> None:
        """Take content of the held request; raises `RejectedRequest` if it is too large."""
        if len(self._content) + len(content) > MOST_REQUEST_BYTES:
            raise RejectedRequest(_TOO_LARGE, f"the request is larger than {MOST_REQUEST_BYTES >> 20} MiB")
        if not _held.take(len(content)):
            raise RejectedRequest(_LATER, "too many large requests are being read at once; try again later")
        self._content += content

    def reserve(self) -> tuple[h11.Request, bytes]:
        """Return the whole request, which may be sent now; raises `RejectedRequest` when it may not."""
        request, content = self._request, bytes(self._content)
        assert request is not None
        self._release()
        method = request.method.decode("ascii")
        try:
            wanted = read_request(self._meter.api, method, self._path, self._host, content)
        except Uncountable as uncountable:
            raise self._uncountable(str(uncountable)) from None
        supervisor = self._meter.supervisor
        if supervisor is None:
            raise self._uncountable("nobody supervises this sandbox")
        verdict = supervisor.model_request(wanted)
        if isinstance(verdict, ModelRefusal):
            raise RejectedRequest(_LATER if verdict.passing else _REFUSED, verdict.reason)
        self._reservation = verdict
        kept = [(key, value) for key, value in request.headers.raw_items() if key.lower() not in _PIECEWISE]
        return h11.Request(method=request.method, target=request.target, headers=kept), content

    def cancel(self) -> None:
        """Release the reservation of a request that was not sent."""
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._tell(reservation, NOTHING_USED)

    def answer(self, response: h11.Response) -> None:
        """Take the header of the answer."""
        if self._reservation is not None:
            types = [value for key, value in response.headers if key == b"content-type"]
            self._answer = AnswerReader(self._meter.api, response.status_code, types[0] if types else b"")

    def feed(self, content: bytes) -> None:
        """Take content of the answer, which the guest has been sent already."""
        if self._answer is not None:
            self._answer.feed(content)

    def end(self) -> None:
        """Report the usage of a complete answer."""
        self._report(complete=True)

    def close(self) -> None:
        """Report the known usage of an answer that was cut off; the rest stays reserved."""
        self._release()
        self._report(complete=False)

    def error(self, status: int, message: str) -> tuple[list[tuple[str, str]], bytes]:
        """Return header fields and content of a refusal in the form of the API."""
        body = error(self._meter.api, _ERROR_KINDS.get(status, "api_error"), message)
        retry = [("Retry-After", str(_SECONDS_LATER))] if status == _LATER else [("X-Should-Retry", "false")]
        return [("Content-Type", "application/json"), *retry], body

    def _report(self, *, complete: bool) -> None:
        reservation, answer = self._reservation, self._answer
        self._reservation = self._answer = None
        if reservation is not None:
            usage = answer.end(complete=complete) if answer is not None else ModelUsage()
            self._tell(reservation, usage)

    def _tell(self, reservation: Reservation, usage: ModelUsage) -> None:
        assert self._meter.supervisor is not None
        self._meter.supervisor.model_usage(reservation.id, usage)

    def _release(self) -> None:
        _held.give_back(len(self._content))
        self._request, self._content = None, bytearray()

    def _uncountable(self, reason: str) -> RejectedRequest:
        return RejectedRequest(
            _REFUSED, f"this request is not sent, because a budget is set and its cost cannot be bounded: {reason}"
        )


_ERROR_KINDS = {
    400: "invalid_request_error",
    403: "permission_error",
    413: "request_too_large",
    502: "api_error",
    503: "overloaded_error",
}
