#!/usr/bin/env python3
"""Stands in for Claude Code in the demonstration: it does what the model's API says, on the test's own repository."""

import json
import os
import sys
import urllib.request

TESTS = "node --test"


def asked(messages: list[dict[str, object]]) -> dict[str, object]:
    body = {"model": "x", "messages": messages, "tools": [{"name": "Bash"}], "stream": False}
    request = urllib.request.Request(  # noqa: S310 - a port of loopback
        f"{os.environ['ANTHROPIC_BASE_URL']}/v1/messages",
        data=json.dumps(body).encode(),
        headers={"x-api-key": os.environ["FAKE_ANTHROPIC_API_KEY"]},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: dict[str, object] = json.load(answer)
    return found


def run(command: str) -> tuple[str, bool]:
    """Do what the steps of the demonstration do, without Node and without the network."""
    if command == TESTS:
        with open("sum.js") as file:
            broken = "a - b" in file.read()
        return ("Exit code 1\nnot ok", True) if broken else ("ok", False)
    if command.startswith("sed ") and "--idle" not in sys.argv:
        os.system(command)  # noqa: S605 - the script's own words
    return "", False


def main() -> None:
    messages: list[dict[str, object]] = [{"role": "user", "content": sys.argv[-1]}]
    while True:
        said = asked(messages)
        blocks = said["content"]
        assert isinstance(blocks, list)
        messages.append({"role": "assistant", "content": blocks})
        calls = [block for block in blocks if block["type"] == "tool_use"]
        if not calls:
            sys.stdout.write(f"{blocks[0]['text']}\n")
            return
        results = []
        for call in calls:
            text, failed = run(call["input"]["command"])
            results.append({"type": "tool_result", "tool_use_id": call["id"], "content": text, "is_error": failed})
        messages.append({"role": "user", "content": results})


main()
