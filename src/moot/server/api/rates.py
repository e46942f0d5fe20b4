"""A bound on the calls with one key: a token bucket for each."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from pyro_mcp.errors import TooManyRequests
from pyro_mcp.host.token_bucket import TokenBucket

_MOST_KEYS = 10_000


class Rates:
    """The buckets of the keys that were used last. Not thread-safe: it is used on the event loop alone."""

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[bytes, TokenBucket] = OrderedDict()

    async def wait(self, token: str) -> None:
        """Count one call; if there were too many, wait first until this one is within the rate."""
        while True:
            try:
                self.take(token)
            except TooManyRequests:
                await asyncio.sleep(1 / self._per_second)
            else:
                return

    def take(self, token: str) -> None:
        """Count one call. Raises `TooManyRequests`."""
        key = hashlib.blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        bucket = self._buckets.pop(key, None) or TokenBucket(self._burst, self._per_second, self._clock)
        self._buckets[key] = bucket
        if len(self._buckets) > _MOST_KEYS:
            self._buckets.popitem(last=False)
        if not bucket.take():
            raise TooManyRequests(
                f"More than {self._per_second:g} calls a second with one key", hint="wait a second, then go on"
            )
