"""The network log is bounded, private, and readable whatever is in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pyro_mcp.network.policy.log import MOST_BYTES, Attempt, NetworkLog, open_log, read_network_log


def test_entries_come_back_oldest_first_and_the_newest_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = NetworkLog(open_log(path))
    for port in range(5):
        log.add("allowed", Attempt("tcp", "a.test", "93.184.215.14", port))

    assert [entry["port"] for entry in read_network_log(path, 3)] == [2, 3, 4]
    assert read_network_log(path, 0) == []
    assert read_network_log(tmp_path / "none", 10) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_name_with_control_characters_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    NetworkLog(open_log(path)).add("refused", Attempt("dns", "\x1b[31m\n\x9b.test" + "x" * 500), "no")

    (entry,) = read_network_log(path, 10)
    assert entry["name"] is not None and entry["name"].startswith(r"\x1b[31m\n\x9b.test") and len(entry["name"]) == 253


def test_a_full_log_loses_its_older_half(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes((b'{"verdict": "allowed", "port": 1, "pad": "' + b"x" * 1000 + b'"}\n') * (MOST_BYTES // 1050))
    log = NetworkLog(open_log(path))
    before = len(read_network_log(path, 10_000))
    for port in range(2, 90):
        log.add("refused", Attempt("tcp", "a" * 253, None, port), "b" * 400)

    entries = read_network_log(path, 10_000)
    assert path.stat().st_size <= MOST_BYTES
    assert before // 3 < len(entries) < before
    assert entries[-1]["port"] == 89


def test_a_flood_is_counted_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = NetworkLog(open_log(path))
    for port in range(1000):
        log.add("refused", Attempt("udp", None, "10.0.0.1", port), "it is private")

    assert len(read_network_log(path, 10_000)) <= 300


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = open_log(path)
    os.write(descriptor, b'{"verdict": "all\n[]\n')
    NetworkLog(descriptor).add("allowed", Attempt("tcp"))

    assert len(read_network_log(path, 10)) == 1
