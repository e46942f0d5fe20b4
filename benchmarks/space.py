"""Measure the space server on SQLite several times, and write the medians into docs/space.md.

    .venv/bin/python -m benchmarks.space [--runs N] [PART...]        parts: accept, push, idle, large; all by default

Each run has a new server for each part. The table is written when all parts were run. Client and server share this
host's processors, so the server alone is faster than this says. A missed aim is shown, and nothing fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from websockets.asyncio.client import connect

from benchmarks.figures import Figure, table
from moot.id_encoding import new_id
from tests.moot.server.running import Client, Server, running

_PAGE = Path(__file__).parents[1] / "docs/space.md"
_TABLE = re.compile(r"(?<=<!-- python -m benchmarks.space -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
_EVENTS = 1_000_000
_SEARCHED = ("parser", "manifest", "gateway", "snapshot", "review", "branch", "commit", "policy")


@dataclass(frozen=True)
class Sample:
    """What one run has measured; `aim` is an upper bound, or a lower one when `more_is_better`."""

    name: str
    unit: str
    value: float
    aim: float | None = None
    more_is_better: bool = False


def main(words: list[str]) -> int:
    """Measure the wanted parts, print the figures, and write the table when all parts were measured."""
    known: dict[str, Callable[[], Iterator[Sample]]] = {
        "accept": accepted,
        "push": pushed,
        "idle": idle,
        "large": large,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each part (default 5)")
    parser.add_argument("parts", nargs="*", choices=[[], *known], metavar="PART")
    given = parser.parse_args(words)
    loads, samples = [os.getloadavg()[0]], list[Sample]()
    for number in range(given.runs):
        for name in given.parts or known:
            for sample in known[name]():
                samples.append(sample)
                print(f"run {number + 1}: {sample.name}: {sample.value:.1f} {sample.unit}", flush=True)
        loads.append(os.getloadavg()[0])
    figures = list(_figures(samples))
    print(table(figures))
    if not given.parts:
        _PAGE.write_text(_TABLE.sub(lambda _: _written(figures, loads), _PAGE.read_text()))
    return 0


def _figures(samples: Sequence[Sample]) -> Iterator[Figure]:
    for one in {sample.name: sample for sample in samples}.values():
        values = [sample.value for sample in samples if sample.name == one.name]
        yield Figure(one.name, one.unit, values, one.aim, one.more_is_better)


def _written(figures: Sequence[Figure], loads: Sequence[float]) -> str:
    rows = ["| what | median | of | aim |", "|---|---|---|---|"]
    for one in figures:
        aim = "" if one.target is None else f"{'≥' if one.more_is_better else '≤'} {one.target:g} {one.unit}"
        if one.met is False:
            aim += ", missed"
        spread = f"{min(one.samples):.0f} to {max(one.samples):.0f}"
        rows.append(f"| {one.name} | {one.median:.0f} {one.unit} | {spread} | {aim} |")
    facts = f"{os.cpu_count()} processors, {len(figures[0].samples)} runs, load {min(loads):.0f} to {max(loads):.0f}."
    return "\n".join([facts, "", *rows])


@contextmanager
def _server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="space-bench-") as folder, running(Path(folder)) as server:
        yield server


def _keys(server: Server, number: int) -> list[str]:
    """Make so many agents; return their keys."""
    return [str(server.person.post("/api/actors", {"display_name": f"Agent {n}"})["api_key"]) for n in range(number)]


def accepted() -> Iterator[Sample]:
    """Measure how many messages a second are accepted, from 32 connections."""
    with _server() as server:
        space, keys = server.space(), _keys(server, 16)
        per_connection = 100
        started, used = time.perf_counter(), _processor_seconds(server)
        asyncio.run(_post_from_many(server.port, space, keys * 2, per_connection))
        seconds, used = time.perf_counter() - started, _processor_seconds(server) - used
        number = server.person.newest(space)
    assert number == 32 * per_connection
    yield Sample("accepted from 32 connections", "messages/s", number / seconds, 500, more_is_better=True)
    yield Sample("processor time of the server for 1,000 messages", "ms", 1e6 * used / number)


async def _post_from_many(port: int, space: str, keys: list[str], number: int) -> None:
    async def post(key: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps({"text": "a message of the usual length, about what was done and what is next " * 3}).encode()
        head = f"POST /api/spaces/{space}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(number):
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.partition(b":")[2]))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(post, keys))


def pushed() -> Iterator[Sample]:
    """Measure the time from a message's timestamp until its frame is there, for 50 subscribers."""
    with _server() as server:
        space, keys = server.space(), _keys(server, 50)
        delays, join = asyncio.run(_subscribe_many(server, space, keys))
    delays.sort()
    p50, p99 = (1000 * delays[int(len(delays) * part)] for part in (0.5, 0.99))
    yield Sample("a message's timestamp → its frame at 50 subscribers, p50", "ms", p50, 20)
    yield Sample("the same, p99", "ms", p99, 150)
    yield Sample("25 subscribers join at one instant: the last is live after", "ms", 1000 * join)


async def _subscribe_many(server: Server, space: str, keys: list[str]) -> tuple[list[float], float]:
    messages, delays = 200, []

    async def read(stack: AsyncExitStack, key: str) -> None:
        address = f"ws://127.0.0.1:{server.port}/api/spaces/{space}/ws?token={key}"
        live = await stack.enter_async_context(connect(address, proxy=None, open_timeout=60))

        async def frames() -> None:
            left = messages
            while left:
                frame = json.loads(await live.recv())
                if frame["type"] == "context_event":
                    sent = datetime.fromisoformat(frame["data"]["timestamp"])
                    delays.append((datetime.now(UTC) - sent).total_seconds())
                    left -= 1

        tasks.append(asyncio.create_task(frames()))

    tasks: list[asyncio.Task[None]] = []
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(read(stack, key) for key in keys[:25]))
        started = time.perf_counter()
        await asyncio.gather(*(read(stack, key) for key in keys[25:]))
        join = time.perf_counter() - started
        for number in range(messages):
            body = {"text": f"message {number}"}
            await asyncio.to_thread(server.person.post, f"/api/spaces/{space}/events", body)
            await asyncio.sleep(0.05)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
    return delays, join


def idle() -> Iterator[Sample]:
    """Measure the server's memory with 1,000 idle subscribers."""
    with _server() as server:
        space, keys = server.space(), _keys(server, 20)
        after = asyncio.run(_hold(server, space, keys * 50))
    yield Sample("memory with 1,000 idle subscribers", "MB", after, 200)


async def _hold(server: Server, space: str, keys: list[str]) -> int:
    gate = asyncio.Semaphore(20)

    async def hold(stack: AsyncExitStack, key: str) -> None:
        address = f"ws://127.0.0.1:{server.port}/api/spaces/{space}/ws?token={key}"
        async with gate:
            await stack.enter_async_context(connect(address, proxy=None, open_timeout=60, ping_interval=None))

    async with AsyncExitStack() as stack:
        await asyncio.gather(*(hold(stack, key) for key in keys))
        return server.resident_megabytes()


def _processor_seconds(server: Server) -> float:
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def large() -> Iterator[Sample]:
    """Measure calls on a space with a million events."""
    with _server() as server:
        space, spec = server.space(), server.agents()["Spec"]
        spec_id = spec.get("/api/actors/me")["actor_id"]
        spec.get(f"/api/spaces/{space}/status")
        server.stop()
        _fill(server.data / "space.db", spec_id)
        server.start()
        assert server.person.newest(space) == _EVENTS
        base = f"/api/spaces/{space}"
        for name, path, most in (
            ("events", f"{base}/events", 50),
            ("events since the middle", f"{base}/events?since={_EVENTS // 2}", 50),
            ("mentions", f"{base}/mentions/{spec_id}", 50),
            ("orientation", "/api/actors/me/orientation", 50),
            ("search for a word", "/api/search?q=parser", 200),
            ("search for two words", "/api/search?q=parser%20policy", 200),
        ):
            yield Sample(f"in a space of 1,000,000 events: {name}", "ms", _median(spec, path), most)


def _median(client: Client, path: str) -> float:
    times = []
    for _ in range(20):
        started = time.perf_counter()
        client.get(path)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def _fill(database: Path, recipient_id: str) -> None:
    """Fill the only space of a database; each tenth event mentions the recipient."""
    moment = "2026-01-01T00:00:00.000000+00:00"
    with closing(sqlite3.connect(database)) as connection:
        key = connection.execute("SELECT space_key FROM spaces").fetchone()[0]

        def rows() -> Iterator[tuple[object, ...]]:
            for number in range(1, _EVENTS + 1):
                word = _SEARCHED[number % len(_SEARCHED)]
                more = _SEARCHED[number // 7 % len(_SEARCHED)]
                text = f"Message {number} about the {word} and the {more}, which are ready for the next step."
                yield (key, number, new_id("evt"), "agt_1", "Agent", "agent", text, moment, "[]")

        names = "space_key, sequence, event_id, speaker_id, speaker_name, speaker_type, text, timestamp, reference_uris"
        connection.executemany(f"INSERT INTO events ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows())  # noqa: S608
        mentions = ((key, recipient_id, n, "mention", "queued", moment, "2999") for n in range(10, _EVENTS + 1, 10))
        names = "space_key, recipient_id, sequence, relevance, state, queued_at, deadline_at"
        connection.executemany(f"INSERT INTO deliveries ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", mentions)  # noqa: S608
        connection.execute("UPDATE spaces SET last_sequence = ?, last_event_at = ?", (_EVENTS, moment))
        connection.commit()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
