"""Hints in the words of a model: tools and their arguments, and what only the user can do."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pyro_mcp.hints import Argument, CommandWords, NotOffered, Verb
from pyro_mcp.mcp_server.profiles import ALL

_ASK_FOR_NETWORK = "ask the user to allow the network with {}"
_CONNECT = Verb("host connect", host="HOST", network_policy="egress")
_OF_THE_USER = ("network", "network_policy", "allow_hosts")
"""Arguments that only the user can allow where a server does not offer them."""
_OF_OTHER_TOOLS = ("binary",)
"""Arguments that no tool takes with the meaning of the hints: in these, `binary` is of a file that is read."""


@dataclass(frozen=True)
class ToolWords:
    """The words of a server that offers these tools and arguments; by default, all of them.

    A verb without a tool is a command that the user can type.
    """

    tools: frozenset[str] = frozenset(tool.name for tool in ALL)
    arguments: frozenset[str] = frozenset(name for tool in ALL for name in tool.parameters)

    def verb(self, verb: Verb) -> str:
        if verb.tool not in self.tools:
            return CommandWords().verb(verb)
        arguments = ", ".join(self.argument(one) for one in verb.arguments)
        return f"{verb.tool}({arguments})" if arguments else verb.tool

    def argument(self, argument: Argument) -> str:
        if argument.name in self.arguments and argument.name not in _OF_OTHER_TOOLS:
            value = json.dumps(argument.value, ensure_ascii=False)
            return argument.name if argument.value is None else f"{argument.name}={value}"
        raise NotOffered(
            _ASK_FOR_NETWORK.format(CommandWords().verb(_CONNECT)) if argument.name in _OF_THE_USER else ""
        )
