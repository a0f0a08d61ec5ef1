"""Tokens that nobody has counted, guessed by the text: four bytes of it in UTF-8 are one token.

That holds within about a third for English, code, Cyrillic and Chinese alike. An image, a recording or a file
counts as :data:`MEDIA_TOKENS`, however many bytes it has. Reasoning that the upstream keeps to itself is not seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw, Struct

from tiny_dancer.gateway.upstream import sse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.gateway.choosing.incoming import Incoming

BYTES_PER_TOKEN: Final = 4
MEDIA_TOKENS: Final = 1000
"""Of an image, a recording, a film or a file. A picture of 1024 by 1024 has 765 at OpenAI, 1,400 at Anthropic."""

_HELD: Final = 64 * 1024  # bytes of an answer that wait to be read
_DATA: Final = re.compile(rb"^data: ?(\{.*)$", re.MULTILINE)
_ABSENT: Final = Raw(b"null")
# Where an answer has its text, in all protocols; what is below is looked through for the same.
_TEXTS: Final = frozenset(
    {"content", "text", "reasoning_content", "reasoning", "thinking", "refusal", "partial_json"}
    | {"arguments", "name", "input", "transcript", "tool_calls", "function", "function_call"}
    | {"audio", "summary"}
)
# What is in a prompt and is not read: names of things, and what stands for something the model has seen before.
_UNREAD: Final = frozenset(
    {"type", "role", "id", "call_id", "tool_call_id", "tool_use_id", "status", "detail"}
    | {"signature", "cache_control", "encrypted_content", "data", "media_type", "mime_type"}
    | {"format", "file_id", "filename"}
)
_MEDIA: Final = frozenset(
    {"image", "image_url", "input_image", "input_audio", "audio", "audio_url", "video"}
    | {"video_url", "input_video", "file", "input_file", "document", "computer_screenshot"}
)
_PROMPT: Final = ("messages", "system", "input", "instructions", "prompt", "suffix")
_AS_WRITTEN: Final = ("tools", "functions", "response_format", "output_config", "text")


class _Choice(Struct):
    delta: Any = None
    message: Any = None
    text: Any = None


class _Said(Struct):
    """An answer, or an event of one, in any of the protocols."""

    type: Any = None
    choices: list[_Choice] | None = None
    delta: Any = None
    content_block: Any = None
    content: Any = None
    output: Any = None
    response: Raw = _ABSENT


_said: Final = msgspec.json.Decoder(_Said).decode
_all_said: Final = msgspec.json.Decoder(list[_Said]).decode
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


class Guess:
    """The text of one answer, as the client gets it: collected, and read where it is asked for or gets long."""

    __slots__ = ("_bytes", "_held", "_size", "_whole")

    def __init__(self, data: bytes) -> None:
        """``data``: a whole body, or the first events of a stream, in any of the protocols."""
        self._held = [data]
        self._size = len(data)
        self._bytes = 0
        self._whole = 0

    def add(self, data: bytes) -> None:
        """Takes further events of a stream, each whole."""
        self._held.append(data)
        self._size += len(data)
        if self._size > _HELD:
            self._fold()

    def tokens(self) -> int:
        """Tokens of the answer so far; 0 where it says nothing."""
        self._fold()
        # The last event of a response says all of it again; where there were no others, it is what there is.
        return -(-(self._bytes or self._whole) // BYTES_PER_TOKEN)

    def _fold(self) -> None:
        held = b"".join(self._held)
        self._held.clear()
        self._size = 0
        for each in _read(held):
            if each.choices is not None:
                for choice in each.choices:
                    if choice.delta is not None:
                        self._bytes += _answered(choice.delta)
                    else:
                        self._bytes += _answered(choice.message) + _answered(choice.text)
            elif each.delta is not None:
                if not (isinstance(each.type, str) and each.type.endswith("audio.delta")):
                    self._bytes += _answered(each.delta)
            elif each.response != _ABSENT:
                self._whole = max(
                    [self._whole, *(_answered(whole.output) for whole in _read(bytes(each.response)))]
                )
            else:
                self._bytes += _answered(each.content_block) + _answered(each.content) + _answered(each.output)


def prompt_tokens(incoming: Incoming) -> int:
    """Tokens of a request by its text: messages and instructions; tools and the answer's form as written."""
    fields = incoming.fields
    count = sum(len(fields[name]) for name in _AS_WRITTEN if name in fields)
    media = 0
    for name in _PROMPT:
        raw = fields.get(name)
        if raw is None:
            continue
        try:
            said = _any(raw)
        except (ValueError, RecursionError):
            count += len(raw)
            continue
        text, pictures = _asked(said)
        count += text
        media += pictures
    return -(-count // BYTES_PER_TOKEN) + MEDIA_TOKENS * media


def _read(held: bytes) -> Iterable[_Said]:
    """Bodies and events; those that cannot be read are left out."""
    if held.lstrip()[:1] == b"{":
        return _readable((held,))
    try:
        return _all_said(b"[" + b",".join(_DATA.findall(held)) + b"]")
    except (ValueError, RecursionError):
        events, rest = sse.split(held)
        return _readable([sse.data_of(each) for each in (*events, rest)])


def _readable(bodies: Iterable[bytes]) -> Iterable[_Said]:
    for body in bodies:
        try:
            yield _said(body)
        except (ValueError, RecursionError):
            continue


def _answered(said: object) -> int:
    """Bytes of text in a part of an answer."""
    if said is None:
        return 0
    if isinstance(said, str):
        return _bytes(said)
    if type(said) is dict and len(said) == 1 and type(text := said.get("content")) is str:
        return _bytes(text)  # nearly every event of a long stream
    count = 0
    left: list[Any] = [said]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            for name, value in each.items():
                # Some say their reasoning under both names.
                if not value or name not in _TEXTS or (name == "reasoning" and each.get("reasoning_content")):
                    continue
                if isinstance(value, str):
                    count += _bytes(value)
                elif name == "input":
                    count += len(_encode(value))
                else:
                    left.append(value)
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str):
            count += _bytes(each)
    return count


def _asked(said: object) -> tuple[int, int]:
    """Bytes of text in a part of a request, and how many images, recordings and files there are."""
    count = media = 0
    left: list[Any] = [said]
    while left:
        each = left.pop()
        if isinstance(each, str):
            count += _bytes(each)
        elif isinstance(each, list):
            left += each
        elif type(each) is int:
            count += BYTES_PER_TOKEN  # a prompt may be tokens
        elif isinstance(each, dict):
            kind, source = each.get("type"), each.get("source")
            if isinstance(source, dict) and source.get("type") in ("text", "content"):
                left += [source.get("data"), source.get("content")]  # a document that is text
            elif isinstance(kind, str) and kind in _MEDIA:
                media += 1
            else:
                for name, value in each.items():
                    if name == "input" and isinstance(value, dict):
                        count += len(_encode(value))  # a call's arguments
                    elif name not in _UNREAD:
                        left.append(value)
    return count, media


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
