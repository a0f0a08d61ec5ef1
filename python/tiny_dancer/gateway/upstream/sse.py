"""Server-sent events: where one ends, and what it says (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from typing import Final

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes an event may have. Streamed images are the largest there are: a few megabytes."""

DONE: Final = b"data: [DONE]\n\n"

# Two line ends in a row, of which one \r\n is not two. Each begins with a character, not a group: only such a
# pattern is searched for at the speed of memory.
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n?|\r\n\n|\n\r\n?|\n\n|\r\r\n?")
# Of a blank line that is not complete, at most so many bytes have been searched already: \r\n\r.
_BEFORE: Final = 3
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BESIDE: Final = re.compile(rb"(?:\A|[\r\n])(?:id|retry):")
_ERROR: Final = re.compile(rb"(?:\A|[\r\n])(?:event: ?error[ \t]*[\r\n]|error: ?([^\r\n]+))")


class Splitter:
    """Cuts a stream into events, however it is cut into pieces itself.

    What has been searched is not searched again, so an event of megabytes may come in any number of pieces. An
    event whose blank line ends in a carriage return at the end of a piece waits for one more byte, perhaps its
    line feed.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: bytearray | None = None

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are complete with this piece, each with the blank line that ends it.

        Raises:
            ValueError: an event is larger than :data:`LARGEST_EVENT`.
        """
        rest = self._rest
        buffer: bytes | bytearray
        if rest is None:
            buffer = piece
            searched = 0
        else:
            searched = max(len(rest) - _BEFORE, 0)
            rest += piece
            buffer = rest
        events: list[bytes] = []
        start = 0
        # A carriage return before what is left to search belongs to no blank line.
        if buffer.find(b"\r", searched) >= 0:
            for blank in _BLANK_LINE.finditer(buffer, searched):
                stop = blank.end()
                if stop == len(buffer) and buffer[-1] == 13:  # \r
                    break
                events.append(bytes(buffer[start:stop]))
                start = stop
        else:
            end = buffer.find(b"\n\n", searched)
            if rest is None and end == len(piece) - 2 and end >= 0:
                return [piece]
            if end >= 0:
                *whole, last = bytes(buffer).split(b"\n\n")
                events = [each + b"\n\n" for each in whole]
                start = len(buffer) - len(last)
        left = len(buffer) - start
        if left > LARGEST_EVENT:
            raise ValueError(f"an event of the stream has more than {LARGEST_EVENT} bytes")
        if start or rest is None:
            self._rest = bytearray(buffer[start:]) if left else None
        return events

    def end(self) -> list[bytes]:
        """The event that the end of the stream ends, where there is one."""
        return self.feed(b"\n\n") if self._rest else []

    @property
    def rest(self) -> bytes:
        """What has come of an event that is not complete."""
        return bytes(self._rest or b"")


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """The events of a stream that is there as a whole, and the bytes of one that is not complete."""
    splitter = Splitter()
    return splitter.feed(stream), splitter.rest


def data_of(event: bytes) -> bytes:
    """What an event's ``data`` lines say, joined by line feeds; empty where it has none (a comment, a ping)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and event.find(b"\r") < 0:
        return event[6:-2]
    lines = event.removeprefix(_BYTE_ORDER_MARK).splitlines()
    said = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return said[0] if len(said) == 1 else b"\n".join(said)


def error_of(event: bytes) -> bytes | None:
    """What an event says that is an error by its name (``event: error``) or by its field (llama.cpp's ``error:``);
    None where it is none by these."""
    if event.startswith(b"data:") or (found := _ERROR.search(event)) is None:
        return None
    return found[1] or data_of(event)


def of_data(event: bytes, data: bytes) -> bytes:
    """The event as readers take it that know data alone: without ``id`` and ``retry``, which make OpenAI's library
    see events where there are only comments; nothing where it has no data and is no comment."""
    if not data:
        return event if event.startswith(b":") else b""
    return event if _BESIDE.search(event) is None else b"data: %b\n\n" % b" ".join(data.split(b"\n"))


def event(data: bytes, name: bytes = b"") -> bytes:
    """An event with this one line of data (JSON has no line ends), and this name unless it is empty."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
