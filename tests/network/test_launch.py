"""The start of a gateway: which namespaces it takes, and how it reports that it could not start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyro_mcp.errors import HostNotReady, HostToolMissing, InvalidRequest
from pyro_mcp.network.channel.messages import Message, message_pair, send_message
from pyro_mcp.network.gateway import launch
from pyro_mcp.network.gateway.launch import StartingGateway, launch_gateway
from pyro_mcp.network.policy.rules import Rules

NO_NFT = ("there is no nft", "apt-get install nftables")
NO_TUN = ("there is no /dev/net/tun", "load it with: sudo modprobe tun")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/hostname", "is not a network namespace"),
        ("/proc/self/ns/uts", "is not a network namespace"),
        ("/proc", "is not a network namespace"),
        ("pipe", "is not a network namespace"),
        ("/proc/self/ns/net", "own network namespace"),
        ("/none", "cannot open"),
    ],
)
def test_a_path_that_is_no_other_network_namespace_is_refused(
    home: Path, tmp_path: Path, path: str, reason: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    folder, log = tmp_path / "gateway", home / "network.log"
    namespace = tmp_path / path
    with pytest.raises(InvalidRequest, match=reason), launch_gateway(folder, log, Rules(), namespace=namespace):
        raise AssertionError("it was accepted")


@pytest.mark.parametrize(
    ("message", "problems", "expected"),
    [
        ({"error": "it has eth1", "hint": "remove it"}, [NO_TUN], (HostNotReady, "it has eth1", "remove it")),
        ({"error": NO_NFT[0], "hint": NO_NFT[1]}, [NO_NFT], (HostToolMissing, *NO_NFT)),
        ({"error": "errno 2", "hint": ""}, [NO_TUN], (HostNotReady, *NO_TUN)),
        ({"error": "errno 2", "hint": ""}, [NO_NFT], (HostToolMissing, *NO_NFT)),
        ({"error": "errno 2"}, [], (HostNotReady, "errno 2", str(launch._RETRY))),
        (
            {"error": "errno 2"},
            [NO_TUN, NO_NFT],
            (HostToolMissing, f"{NO_TUN[0]}; {NO_NFT[0]}", f"{NO_TUN[1]}; {NO_NFT[1]}"),
        ),
    ],
)
def test_the_hint_belongs_to_the_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: Message,
    problems: list[tuple[str, str]],
    expected: tuple[type[HostNotReady], str, str],
) -> None:
    kind, reason, hint = expected
    monkeypatch.setattr(launch, "network_problems", lambda **_: problems)
    ours, theirs = message_pair()
    with ours, theirs:
        send_message(theirs, message)
        with pytest.raises(HostNotReady) as raised:
            StartingGateway(ours, tmp_path / "stderr", needs_tap=True).wait_until_ready()
    assert type(raised.value) is kind
    assert (raised.value.message, raised.value.hint) == (
        f"this host cannot give the guest its network: {reason}",
        hint,
    )
