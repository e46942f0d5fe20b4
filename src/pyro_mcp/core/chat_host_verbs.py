"""The verbs about chat hosts: who may use our server."""

from __future__ import annotations

from typing import Unpack

from pyro_mcp import chat_hosts
from pyro_mcp.results import ChatHostChange, ChatHostConfig, ChatHostDoctor
from pyro_mcp.serving import ServeKeywords, ServeOptions


class ChatHostVerbs:
    """Claude Code, Codex and OpenCode, and the entry for `pyro mcp serve` in their settings."""

    def connect_host(
        self,
        host: str,
        *,
        name: str = "pyro",
        allow: bool = False,
        profile: str | None = None,
        **options: Unpack[ServeKeywords],
    ) -> ChatHostChange:
        """Make a host ("claude-code", "codex", "opencode") start our server, after a trial start.

        With `allow` the host uses our tools without asking each time, those that write to this host too. The other
        options are those of `create_server`, but results are text alone unless `results` is given. An entry that is
        right already is left alone. Raises `Conflict` when `name` is another server's.
        """
        return chat_hosts.connect(host, name, ServeOptions(profile, **options), allow=allow)

    def host_config(
        self,
        host: str,
        *,
        name: str = "pyro",
        profile: str | None = None,
        **options: Unpack[ServeKeywords],
    ) -> ChatHostConfig:
        """Return what a person would write into the settings of a host; changes nothing."""
        return chat_hosts.config(host, name, ServeOptions(profile, **options))

    def doctor_hosts(self, *, name: str = "pyro") -> ChatHostDoctor:
        """Report whether each host has an entry for our server, and start every server that has one."""
        return chat_hosts.doctor(name)

    def repair_host(self, host: str, *, name: str = "pyro") -> ChatHostChange:
        """Make a host's entry start this pyro again, with the options that it had."""
        return chat_hosts.repair(host, name)

    def disconnect_host(self, host: str, *, name: str = "pyro") -> ChatHostChange:
        """Take our server out of a host's settings; what else the user had there stays."""
        return chat_hosts.disconnect(host, name)
