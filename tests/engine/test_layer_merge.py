"""Which layers of a disk are merged, and when."""

from __future__ import annotations

import random

import pytest

from pyro_mcp.engine.qemu.layer_merge import MERGE_ABOVE, lowest_to_merge

LIFE = 10_000


def life(written: list[int]) -> tuple[int, int]:
    """Snapshots that each freeze a layer of so many bytes: the longest chain, and the bytes copied by merges."""
    sizes: list[int] = []
    longest = copied = 0
    for size in written:
        sizes.append(size)
        longest = max(longest, len(sizes))
        if len(sizes) > MERGE_ABOVE:
            start = lowest_to_merge(sizes)
            copied += sum(sizes[start:])
            sizes[start:] = [sum(sizes[start:])]
    return longest, copied


@pytest.mark.parametrize("shape", ["equal", "growing", "shrinking", "random"])
def test_a_chain_stays_short_over_ten_thousand_snapshots(shape: str) -> None:
    chance = random.Random(shape)  # noqa: S311 - no secret
    written = {
        "equal": [1] * LIFE,
        "growing": list(range(1, LIFE + 1)),
        "shrinking": list(range(LIFE, 0, -1)),
        "random": [round(2 ** chance.uniform(0, 16)) for _ in range(LIFE)],
    }[shape]
    longest, copied = life(written)
    assert longest <= MERGE_ABOVE + 1
    assert copied <= 8 * sum(written)


def test_a_large_layer_is_left_alone_by_small_ones() -> None:
    assert lowest_to_merge([1000, *([1] * MERGE_ABOVE)]) > 0
    _, copied = life([100_000, *([1] * 500)])
    assert copied < 10_000


def test_a_short_chain_is_merged_as_a_whole() -> None:
    assert lowest_to_merge([5, 5]) == 0
