"""Counters and a histogram in the text format of Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The counters of a server process. Only the event loop uses them."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0
        self.frames = 0
        self.dropped = 0
        self.stuck = 0

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the pattern of its path."""
        self._requests[method if method in _METHODS else "other", route, status] += 1
        self._durations[bisect_left(_BOUNDS, seconds)] += 1
        self._seconds += seconds

    def text(self, gauges: Mapping[str, int]) -> str:
        """Return all counters, and the present values `gauges`."""
        lines = ["# TYPE moot_requests_total counter"]
        for (method, route, status), number in sorted(self._requests.items()):
            lines.append(f'moot_requests_total{{method="{method}",route="{route}",status="{status}"}} {number}')
        lines.append("# TYPE moot_request_seconds histogram")
        total = 0
        for bound, number in zip((*map(str, _BOUNDS), "+Inf"), self._durations, strict=True):
            total += number
            lines.append(f'moot_request_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"moot_request_seconds_sum {self._seconds:.6f}", f"moot_request_seconds_count {total}"]
        counted = {"frames_sent": self.frames, "subscribers_dropped": self.dropped, "stuck_connections": self.stuck}
        for name, value in counted.items():
            lines += [f"# TYPE moot_{name}_total counter", f"moot_{name}_total {value}"]
        for name, value in gauges.items():
            lines += [f"# TYPE moot_{name} gauge", f"moot_{name} {value}"]
        return "\n".join(lines) + "\n"
