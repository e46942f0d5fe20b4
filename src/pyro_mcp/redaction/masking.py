"""The masking of secrets in output, whole or in pieces."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from pyro_mcp.errors import PyroError

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

    from pyro_mcp.redaction.escapes import Escapes, View

# Forms of at least this length are also found with line ends inside, which base64 encoders add after 76 characters.
_SHORTEST_WRAPPED = 16
_LINE_ENDS = b"\r\n"
_SHORTEST_ESCAPED = 6
_LEAST_REACH = 128
_MOST_LEVELS = 4
_MOST_UNFINISHED = 2
_HEAD = 8
_Data = bytes  # `Mask` has a method of that name


class _Span(NamedTuple):
    start: int
    end: int
    name: str


def _forms(secrets: Mapping[str, str]) -> dict[bytes, str]:
    """Return each form of each secret, with the name of the first secret that has it."""
    from pyro_mcp.redaction.encodings import forms  # noqa: PLC0415 - most machines have no secrets

    names: dict[bytes, str] = {}
    for name, value in secrets.items():
        for form in forms(value) if value else ():
            names.setdefault(form, name)
    return names


def _named(name: str, _: bytes) -> bytes:
    return f"[secret {name}]".encode()


class Mask:
    """A mask that replaces every secret (name → value) in data by `[secret NAME]`.

    It finds the forms of `encodings.forms`, with any of their characters escaped. `instead` makes another replacement
    from the name and the bytes that were found. With `ignore_case`, it finds the forms in upper and lower case.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        instead: Callable[[str, bytes], bytes] = _named,
        *,
        ignore_case: bool = False,
    ) -> None:
        self._instead = instead
        self._ignore_case = ignore_case
        self._short, self._short_escaped, self._long = _Forms({}), _Forms({}), _Forms({})
        for found, name in (_forms(secrets) if secrets else {}).items():
            form = self._folded(found)
            bare = form.translate(None, _LINE_ENDS)
            if len(bare) >= _SHORTEST_WRAPPED:
                self._long.names.setdefault(bare, name)
            else:
                self._short.names.setdefault(form, name)
                if len(form) >= _SHORTEST_ESCAPED:
                    self._short_escaped.names.setdefault(form, name)

    def __bool__(self) -> bool:
        """Return whether there is anything to mask."""
        return self.longest > 0

    def _folded(self, data: _Data) -> _Data:
        return data.lower() if self._ignore_case else data

    @property
    def longest(self) -> int:
        """The bytes of the longest form, without the line ends that an encoder may put into it."""
        return max(self._short.longest, self._long.longest)

    def bytes(self, data: _Data) -> _Data:
        """Return `data` masked."""
        return self.replaced(data, self.spans(data)) if self else data

    def text(self, text: str) -> str:
        """Return `text` masked, or `text` itself (which may be a `Hint`) when nothing in it is secret."""
        masked = self.bytes(text.encode(errors="surrogatepass")).decode(errors="surrogatepass") if self else text
        return text if masked == text else masked

    def everything(self, value: Any) -> Any:
        """Return a JSON value with every text in it masked, keys too."""
        if not self or not self.spans("\0".join(_texts(value)).encode(errors="surrogatepass")):
            return value
        return self._deep(value)

    def _deep(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self._deep(key): self._deep(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._deep(one) for one in value]
        return value

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Mask the messages and hints of errors that the block raises."""
        try:
            yield
        except PyroError as error:
            message, hint = self.text(error.message), self.text(error.hint)
            if (message, hint) == (error.message, error.hint):
                raise
            # Without the original error, whose text is not masked.
            raise type(error)(message, hint=hint) from None

    def stream(self, *, prompt: bool = False) -> MaskStream:
        """Return a mask for output in pieces; with `prompt`, a reader never waits for a few bytes that it kept back."""
        return MaskStream(self, prompt=prompt)

    def spans(self, data: _Data) -> list[_Span]:
        """Return the places of secrets in `data`, in order and without overlap."""
        if not self:
            return []
        found = _found(self._folded(data), self._short, self._long)
        views: list[View] = []
        while len(views) < _MOST_LEVELS and (view := self._unescaped(views[-1].data if views else data)) is not None:
            views.append(view)
            spans = _found(self._folded(view.data), self._short_escaped, self._long)
            found += [
                span._replace(start=_place(views, span.start), end=_place(views, span.end, end=True)) for span in spans
            ]
        return _merged(found)

    def _unescaped(self, data: _Data) -> View | None:
        return self._escapes.view(data) if self._escapes else None

    @cached_property
    def _escapes(self) -> Escapes | None:
        from pyro_mcp.redaction.escapes import Escapes  # noqa: PLC0415 - most machines have no secrets

        known = b"".join([*self._short_escaped.names, *self._long.names])
        wanted = frozenset(known + known.upper() if self._ignore_case else known)
        return Escapes(wanted) if wanted else None

    def onward(self, data: _Data, place: int) -> tuple[int, _Data]:
        """Return `place`, moved back to the start of a secret that spans `place`, and `data` from there on, masked."""
        spans = [span for span in self.spans(data) if span.end > place] if self else []
        begin = min([place, *(span.start for span in spans)])
        shifted = [span._replace(start=span.start - begin, end=span.end - begin) for span in spans]
        return begin, self.replaced(data[begin:], shifted)

    def between(self, data: _Data, begin: int, end: int) -> tuple[_Data, int, int]:
        """Mask `data` between two places, which are moved outwards so that no secret is cut; and those places."""
        spans = self.spans(data) if self else []
        begin = min([begin, *(span.start for span in spans if span.start < begin < span.end)])
        end = max([end, *(span.end for span in spans if span.start < end < span.end)])
        inner = [span for span in spans if begin <= span.start and span.end <= end]
        shifted = [span._replace(start=span.start - begin, end=span.end - begin) for span in inner]
        return self.replaced(data[begin:end], shifted), begin, end

    @property
    def reach(self) -> int:
        """The most bytes that a secret takes, with the escapes and line ends that encoders put into it."""
        return 6 * self.longest

    def replaced(self, data: _Data, spans: list[_Span]) -> _Data:
        """Return `data` with these places replaced."""
        pieces, place = [], 0
        for span in spans:
            pieces += [data[place : span.start], self._instead(span.name, data[span.start : span.end])]
            place = span.end
        return b"".join([*pieces, data[place:]])

    def held_from(self, data: _Data) -> int:
        """Return the place of a form that may have begun at the end of `data`; `len(data)` if none has."""
        before = max(0, len(data) - max(self.reach, _LEAST_REACH))
        tail = data[before:]
        held = min(_held_from(self._folded(tail), self._short, self._long), self._held_escaped(tail, _MOST_LEVELS))
        return before + held

    def _held_escaped(self, text: _Data, levels: int) -> int:
        """Return the place of a form that may have begun, with characters escaped at most `levels` times."""
        held = len(text)
        for one in _without_unfinished(text):
            # An escape that has only begun may become the next character of the secret.
            held = min(held, _held_from(self._folded(one), self._short_escaped, self._long))
            view = self._unescaped(one) if levels else None
            if view is not None and (place := self._held_escaped(view.data, levels - 1)) < len(view.data):
                held = min(held, view.start(place))
        return held


def _without_unfinished(data: bytes) -> Iterator[bytes]:
    """Yield `data`, and `data` without one or more escapes at its end that may be unfinished."""
    yield data
    for _ in range(_MOST_UNFINISHED):
        if not (size := _unfinished(data)):
            return
        data = data[:-size]
        yield data


def _unfinished(data: bytes) -> int:
    from pyro_mcp.redaction.escapes import unfinished  # noqa: PLC0415

    return unfinished(data)


def _place(views: list[View], place: int, *, end: bool = False) -> int:
    """Return the place in the text for a place in the last of its views."""
    for view in reversed(views):
        place = view.end(place) if end else view.start(place)
    return place


def _found(data: bytes, short: _Forms, long: _Forms) -> list[_Span]:
    found = short.spans(data)
    if long.longest:
        view = data.translate(None, _LINE_ENDS)
        found += _unwrapped(data, view, long.spans(view))
    return found


def _held_from(data: bytes, short: _Forms, long: _Forms) -> int:
    held = len(data) - (short.begun(data[-short.longest :]) if short.longest else 0)
    if not long.longest:
        return held
    tail = data[-2 * long.longest :]
    begun = long.begun(tail.translate(None, _LINE_ENDS)[-long.longest :])
    place = len(data)
    while begun:
        place -= 1
        begun -= data[place] not in _LINE_ENDS
    return min(held, place)


class MaskStream:
    """A mask for output that comes in pieces: `feed` returns what can be shown already, `finish` the rest.

    It keeps back only an end that may be the beginning of a secret, at most the mask's `reach`. With `prompt`, an end
    of less than 6 bytes besides line ends is shown at once; the rest is still masked if both together are a secret.
    """

    def __init__(self, mask: Mask, *, prompt: bool = False) -> None:
        self._mask = mask
        self._kept = b""
        self._prompt = prompt
        self._shown = 0  # how many bytes of `_kept` have been shown already

    def feed(self, data: bytes) -> bytes:
        """Take `data`, and return what can be shown now, masked."""
        if not self._mask:
            return data
        data = self._kept + data
        spans = self._mask.spans(data)
        end = self._mask.held_from(data)
        across = next((span for span in spans if span.start < end < span.end), None)
        if across is not None:
            # It may turn out to be longer, but a secret without an end must not be kept for ever.
            end = across.start if across.end - across.start <= self._mask.reach else across.end
        known, self._kept = self._shown, data[end:]
        shown = self._after(known, data[:end], [span for span in spans if span.end <= end])
        self._shown = max(0, known - end)
        if self._prompt and len(self._kept.translate(None, _LINE_ENDS)) < _SHORTEST_ESCAPED:
            shown += self._kept[self._shown :]
            self._shown = len(self._kept)
        return shown

    def finish(self) -> bytes:
        """Return what was kept back, masked."""
        kept, known, self._kept, self._shown = self._kept, self._shown, b"", 0
        return self._after(known, kept, self._mask.spans(kept) if self._mask else [])

    def _after(self, known: int, data: bytes, spans: list[_Span]) -> bytes:
        """Return `data` from the place `known` on, masked, also for a secret that begins before that place."""
        later = [
            span._replace(start=max(0, span.start - known), end=span.end - known) for span in spans if span.end > known
        ]
        return self._mask.replaced(data[known:], later)


class _Forms:
    """Byte strings to be found, each with its secret's name; of two that begin at one place the longer counts."""

    def __init__(self, names: dict[bytes, str]) -> None:
        self.names = names

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.names), default=0)

    def spans(self, data: bytes) -> list[_Span]:
        if not self.names:
            return []
        found = self._all.find_matches_as_indexes(data)
        return [_Span(start, end, self._listed[which][1]) for which, start, end in found]

    def begun(self, tail: bytes) -> int:
        """Return how many bytes at the end of `tail` are the beginning of a longer form."""
        if not self.names:
            return 0
        places = {start for _, start, _ in self._heads.find_matches_as_indexes(tail, overlapping=True)}
        for place in sorted(places | set(range(max(0, len(tail) - _HEAD), len(tail)))):
            beginning = tail[place:]
            after = bisect_left(self._sorted, beginning)
            if after < len(self._sorted) and self._sorted[after] == beginning:
                after += 1
            if after < len(self._sorted) and self._sorted[after].startswith(beginning):
                return len(beginning)
        return 0

    @cached_property
    def _listed(self) -> list[tuple[bytes, str]]:
        return list(self.names.items())

    @cached_property
    def _sorted(self) -> list[bytes]:
        return sorted(self.names)

    @cached_property
    def _all(self) -> BytesAhoCorasick:
        from ahocorasick_rs import BytesAhoCorasick, MatchKind  # noqa: PLC0415 - most machines have no secrets

        return BytesAhoCorasick([form for form, _ in self._listed], matchkind=MatchKind.LeftmostLongest)

    @cached_property
    def _heads(self) -> BytesAhoCorasick:
        from ahocorasick_rs import BytesAhoCorasick  # noqa: PLC0415

        return BytesAhoCorasick(sorted({form[:_HEAD] for form in self.names}))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (*_texts(key), *_texts(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _unwrapped(data: bytes, view: bytes, spans: list[_Span]) -> list[_Span]:
    """Return the `spans` of `view`, which is `data` without line ends, as places in `data`."""
    if not spans or len(view) == len(data):
        return spans
    runs = re.finditer(rb"[\r\n]+", data)
    run, removed, places = next(runs, None), 0, []
    for index in (place for span in spans for place in (span.start, span.end - 1)):
        while run is not None and run.start() - removed <= index:
            removed += run.end() - run.start()
            run = next(runs, None)
        places.append(index + removed)
    pairs = zip(places[::2], places[1::2], spans, strict=True)
    return [_Span(start, last + 1, span.name) for start, last, span in pairs]


def _merged(spans: list[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for span in sorted(spans):
        if merged and span.start < merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged
