"""The limit on how often something may happen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pyro_mcp.host.token_bucket import TokenBucket


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    now = [0.0]
    bucket = TokenBucket(3, 2.0, lambda: now[0])

    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now[0] += 0.4
    assert not bucket.take()
    now[0] += 0.2
    assert [bucket.take() for _ in range(2)] == [True, False]


def test_what_was_not_used_does_not_add_up_beyond_the_burst() -> None:
    now = [0.0]
    bucket = TokenBucket(2, 1.0, lambda: now[0])
    now[0] += 1000
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_threads_that_take_at_once_get_no_more_than_there_is() -> None:
    bucket = TokenBucket(50, 0.0)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: bucket.take(), range(200)))
    assert sum(taken) == 50
