"""JSON in anonymous files, for content that is too long for a message or must not be on a disk."""

from __future__ import annotations

import json
import os
from typing import Any

_MOST_BYTES = 16 * 1024 * 1024


def memory_file(content: object) -> int:
    """Return the descriptor of an anonymous file that holds `content` as JSON."""
    file = os.memfd_create("settings", os.MFD_CLOEXEC)
    with open(file, "w", encoding="utf-8", closefd=False) as writer:
        json.dump(content, writer)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def read_memory_file(file: int) -> Any:
    """Return the content of a file of `memory_file`; raises `ValueError`."""
    data = bytearray()
    while piece := os.pread(file, 1 << 20, len(data)):
        data += piece
        if len(data) > _MOST_BYTES:
            raise ValueError("the file is too large")
    return json.loads(data)
