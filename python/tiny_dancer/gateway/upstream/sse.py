"""Server-sent events: where one ends, and what it says (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from typing import Final

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes an event may have. Streamed images are the largest there are: a few megabytes."""

DONE: Final = b"data: [DONE]\n\n"

# Two line ends in a row. Atomic, so that one \r\n is not taken for two.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def split(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The events that have arrived in full, and the rest.

    However a stream is cut into buffers, the events are the same. An event whose blank line ends in a carriage
    return at the end of the buffer waits for one more byte, which may be its line feed. At the end of a stream,
    ``split(rest + b"\\n\\n")`` gives the event that was never ended.

    Args:
        buffer: the rest of the last call and what has arrived since.

    Returns:
        events, each with the blank line that ends it, and the bytes of an event that is not complete.

    Raises:
        ValueError: an event is larger than :data:`LARGEST_EVENT`.
    """
    events: list[bytes] = []
    start = 0
    if b"\r" in buffer:
        for blank in _BLANK_LINE.finditer(buffer):
            stop = blank.end()
            if stop == len(buffer) and buffer.endswith(b"\r"):
                break
            events.append(buffer[start:stop])
            start = stop
    else:
        end = buffer.find(b"\n\n")
        if end == len(buffer) - 2 and end >= 0:
            return [buffer], b""
        while end >= 0:
            events.append(buffer[start : end + 2])
            start = end + 2
            end = buffer.find(b"\n\n", start)
    rest = buffer[start:] if start else buffer
    if len(rest) > LARGEST_EVENT:
        raise ValueError(f"an event of the stream has more than {LARGEST_EVENT} bytes")
    return events, rest


def data_of(event: bytes) -> bytes:
    """What an event's ``data`` lines say, joined by line feeds; empty where it has none (a comment, a ping)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and event.find(b"\r") < 0:
        return event[6:-2]
    lines = event.removeprefix(_BYTE_ORDER_MARK).splitlines()
    said = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return said[0] if len(said) == 1 else b"\n".join(said)


def event(data: bytes, name: bytes = b"") -> bytes:
    """An event with this one line of data (JSON has no line ends), and this name unless it is empty."""
    return b"event: %b\ndata: %b\n\n" % (name, data) if name else b"data: %b\n\n" % data
