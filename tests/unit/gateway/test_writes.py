"""Writes gathered over one pass of the loop: all of them, in order, and none to who has left."""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.gateway.writes import Writes


class Transport:
    """Keeps what is written; a closed one refuses, as uvloop's do."""

    def __init__(self, log: list[tuple[int, bytes]], number: int) -> None:
        self.log, self.number, self.closed = log, number, False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.log.append((self.number, data))

    def is_closing(self) -> bool:
        return self.closed


@given(st.lists(st.integers(0, 3), max_size=100), st.sets(st.integers(0, 99)))
def test_everything_is_written_in_order(numbers: list[int], passes: set[int]) -> None:
    async def run() -> list[tuple[int, bytes]]:
        log: list[tuple[int, bytes]] = []
        transports = [Transport(log, number) for number in range(4)]
        writes = Writes()
        for place, number in enumerate(numbers):
            writes.write(cast("asyncio.WriteTransport", transports[number]), b"%d" % place)
            if place in passes:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        return log

    assert asyncio.run(run()) == [(number, b"%d" % place) for place, number in enumerate(numbers)]


def test_writes_of_one_pass_wait_for_its_end_and_flush_does_not() -> None:
    async def run() -> None:
        log: list[tuple[int, bytes]] = []
        transport = cast("asyncio.WriteTransport", Transport(log, 0))
        writes = Writes()
        writes.write(transport, b"a")
        assert log == []
        writes.flush()
        assert log == [(0, b"a")]
        writes.write(transport, b"b")
        await asyncio.sleep(0)
        assert log == [(0, b"a"), (0, b"b")]

    asyncio.run(run())


def test_many_in_one_pass_do_not_wait_for_its_end() -> None:
    async def run() -> None:
        log: list[tuple[int, bytes]] = []
        writes = Writes()
        for place in range(1000):
            writes.write(cast("asyncio.WriteTransport", Transport(log, place)), b"x")
        assert len(log) > 900

    asyncio.run(run())


def test_who_has_left_is_not_written_to() -> None:
    async def run() -> None:
        log: list[tuple[int, bytes]] = []
        left, there = Transport(log, 0), Transport(log, 1)
        writes = Writes()
        for transport in (left, there):
            writes.write(cast("asyncio.WriteTransport", transport), b"x")
        left.closed = True
        await asyncio.sleep(0)
        assert log == [(1, b"x")]

    asyncio.run(run())
