"""Server-sent events are the same however the network cuts them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.upstream import sse

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.binary(max_size=20).filter(lambda line: b"\n" not in line and b"\r" not in line)


def read(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = sse.Splitter()
    return [event for chunk in chunks for event in splitter.feed(chunk)], splitter.rest


def test_a_usual_chunk_is_one_event() -> None:
    assert sse.split(b'data: {"a":1}\n\n') == ([b'data: {"a":1}\n\n'], b"")
    assert sse.split(b"") == ([], b"")
    assert sse.split(b"d") == ([], b"d")
    assert sse.split(b"\n") == ([], b"\n")


def test_several_events_and_a_part_of_one() -> None:
    assert sse.split(b"data: 1\n\ndata: 2\n\nda") == ([b"data: 1\n\n", b"data: 2\n\n"], b"da")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_line_end_of_the_standard(end: bytes) -> None:
    one, two = (b"event: x" + end + b"data: %d" % n + end + end for n in (1, 2))
    events, rest = sse.split(one + two + b"data: 3")
    assert events == [one, two]
    assert rest == b"data: 3"
    assert [sse.data_of(event) for event in events] == [b"1", b"2"]


@given(st.lists(st.tuples(LINES, LINE_ENDS), max_size=30), st.data())
def test_events_do_not_depend_on_the_cuts(lines: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    stream = b"".join(line + end for line, end in lines)
    whole, rest = sse.split(stream)
    assert b"".join(whole) + rest == stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(chunks) == (whole, rest)
    assert read([stream[at : at + 1] for at in range(len(stream))]) == (whole, rest)
    assert all(not event[:-4].strip(b"\r\n") or sse.split(event + b"x")[0] == [event] for event in whole)


@given(st.lists(LINES, min_size=1, max_size=5), LINE_ENDS)
def test_data_lines_are_joined(lines: list[bytes], end: bytes) -> None:
    event = b": ping" + end + b"".join(b"data: " + line + end for line in lines) + b"id: 1" + end + end
    assert sse.data_of(event) == b"\n".join(lines)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data:{}\n\n", b"{}"),
        (b"data:  {}\n\n", b" {}"),
        (b"data: {}\r\n\r\n", b"{}"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"\xef\xbb\xbfdata: {}\n\n", b"{}"),
        (b": ping\n\n", b""),
        (b"\n\n", b""),
        (b"database: 1\n\n", b""),
    ],
)
def test_data_of(event: bytes, data: bytes) -> None:
    assert sse.data_of(event) == data


def test_an_event_never_ended_can_be_had() -> None:
    splitter = sse.Splitter()
    events = splitter.feed(b"data: 1\r\n\r\ndata: 2") + splitter.end()
    assert [sse.data_of(event) for event in events] == [b"1", b"2"]
    assert splitter.end() == []


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_large_event_in_small_pieces_is_searched_once(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    class Pattern:
        def finditer(self, buffer: bytes, start: int) -> Any:
            searched.append(len(buffer) - start)
            return blank_line.finditer(buffer, start)

    blank_line = sse._BLANK_LINE
    monkeypatch.setattr(sse, "_BLANK_LINE", Pattern())
    stream = b"data: " + b"x" * 1_000_000 + end + b"data: y" + end + end + b"x"
    events, rest = read([stream[at : at + 1_000] for at in range(0, len(stream), 1_000)])
    assert (events, rest) == ([stream[:-1]], b"x")
    assert sum(searched) < 10_000


def test_an_event_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="has more than"):
        sse.split(b"data: " + b"x" * sse.LARGEST_EVENT)


@given(LINES, st.sampled_from([b"", b"message_stop"]))
def test_what_is_written_is_read(data: bytes, name: bytes) -> None:
    event = sse.event(data, name)
    assert sse.split(event) == ([event], b"")
    assert sse.data_of(event) == data
    assert event.startswith(b"event: message_stop\n") == bool(name)
