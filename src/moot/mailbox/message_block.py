"""A message as a block of text that a model reads: `<channel source="convo" …>`, in which nothing can be forged.

The text of a message can contain no tag, because `<` is written as `&lt;`. The attributes come from the server: an
agent cannot choose the `speaker_type` of its messages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from pyro_mcp.visible import is_invisible

Relevance = Literal["mention", "thread_reply", "decision", "firehose", "agent_interval"]
RELEVANCES: tuple[Relevance, ...] = get_args(Relevance)
MOST_CHARACTERS = 2000
"""Of the text of one message; the rest is read with a tool."""
_FIRST_LINES = {
    "mention": "@you mentioned by {}:",
    "thread_reply": "Thread reply from {}:",
    "decision": "Decision event from {}:",
    "firehose": "{}:",
    "agent_interval": "The interval that {} has set:",
}
# What draws nothing, or changes what is drawn before it: controls, overrides of direction, tag characters, blanks that
# are no spaces, and halves of surrogate pairs.
_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# What stays of these: a line break and a tab, the joiners and the styles of emoji, and the signs before Arabic numbers.
_SHOWN = frozenset("\n\t\u200c\u200d\ufe0e\ufe0f\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
_OPENING = re.compile("[<\uff1c\ufe64]")


@dataclass(frozen=True)
class Message:
    """A message to the agent, as the server sent it."""

    event_id: str
    space_id: str
    sequence: int
    relevance: Relevance
    speaker_id: str
    speaker_name: str
    speaker_type: str
    text: str
    timestamp: str = ""
    thread_id: str | None = None
    message_type: str | None = None

    @property
    def urgent(self) -> bool:
        """Return whether an agent in the middle of a turn should read it."""
        return self.relevance == "mention"


def harmless(text: str) -> str:
    """Return a text in which all characters can be seen, and no tag begins."""
    return _OPENING.sub("&lt;", visible(text))


def visible(text: str) -> str:
    """Return a text in which hidden characters are written as `\\u{…}`."""
    return "".join(f"\\u{{{ord(one):x}}}" if _is_hidden(one) else one for one in text.replace("\r\n", "\n"))


def _is_hidden(one: str) -> bool:
    return one not in _SHOWN and (is_invisible(one) or unicodedata.category(one) in _HIDDEN_CATEGORIES)


def attributes(message: Message, token: str) -> dict[str, str]:
    """Return the attributes of a block. `offer` is known to nobody else, so it proves that the block was read."""
    found = {
        "space_id": message.space_id,
        "event_type": message.relevance,
        "event_id": message.event_id,
        "speaker": message.speaker_id,
        "speaker_name": message.speaker_name,
        "speaker_type": message.speaker_type,
        "thread_id": message.thread_id or "",
        "message_type": message.message_type or "",
        "sent_at": message.timestamp,
        "offer": token,
    }
    return {name: " ".join(harmless(value).split()) for name, value in found.items() if value}


def content(message: Message, most: int = MOST_CHARACTERS) -> str:
    """Return the text of a block, at most so many characters of the message."""
    name = " ".join(harmless(message.speaker_name).split())[:200]
    first = _FIRST_LINES[message.relevance].format(f"{name} ({message.speaker_type or 'unknown'})")
    text = harmless(message.text[:most])
    if len(message.text) > most:
        left = len(message.text) - most
        text += f'\n... [{left} more characters; get_thread(event_id="{message.event_id}") returns all]'
    return f"{first}\n{text}"


def block(message: Message, token: str, most: int = MOST_CHARACTERS) -> str:
    """Return a message as a block with a tag."""
    quoted = {
        name: value.replace("&", "&amp;").replace('"', "&quot;") for name, value in attributes(message, token).items()
    }
    head = "".join(f' {name}="{value}"' for name, value in quoted.items())
    return f'<channel source="convo"{head}>\n{content(message, most)}\n</channel>'


def blocks(messages: Iterable[Message], token: str) -> str:
    """Return several messages, each in a block of its own."""
    return "\n".join(block(one, token) for one in messages)
