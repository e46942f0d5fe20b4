"""Terminals: the person's own, connected to a program elsewhere, and a terminal's output as plain text.

with own_terminal(resize) as own:  # raw mode: keys and their meaning belong to the far program
    attach(stdin=own.keys, on_output=own.show, interrupt=own.left)

plain(output, columns=80, rows=24)  # lines of text, whatever the output is
"""

from pyro_mcp.terminal.own import DETACH_KEY, OwnTerminal, own_terminal
from pyro_mcp.terminal.text import plain

__all__ = ["DETACH_KEY", "OwnTerminal", "own_terminal", "plain"]
