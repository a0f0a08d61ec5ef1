"""What is made of lists of tools: once for requests that come together, bounded, and never in the loop's way."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tiny_dancer.gateway.tools.kept import AT_ONCE, Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = b"[" + b" " * AT_ONCE + b"]"


class Maker:
    """Counts what it makes, and in which thread."""

    def __init__(self) -> None:
        self.made: list[bytes] = []
        self.threads: set[int] = set()
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, tools: bytes) -> tuple[str, int]:
        self.may_end.wait(30)
        self.made.append(tools)
        self.threads.add(threading.get_ident())
        return "made", len(tools)


@pytest.fixture
def make() -> Iterator[Maker]:
    maker = Maker()
    yield maker
    maker.may_end.set()


def test_a_list_is_read_once_for_each_purpose(make: Maker) -> None:
    async def run() -> None:
        kept = Kept()
        for _ in range(3):
            assert await kept.get("filter", b"[1]", make) == ("made", 3)
        assert make.made == [b"[1]"]
        await kept.get("search", b"[1]", make)
        await kept.get("filter", b"[2]", make)
        assert len(make.made) == len(kept) == 3
        assert kept.bytes == 9
        assert make.threads == {threading.get_ident()}

    asyncio.run(run())


def test_a_long_list_is_read_beside_the_loop_and_once_for_all_who_wait(make: Maker) -> None:
    async def run() -> None:
        kept = Kept()
        make.may_end.clear()
        waiting = [asyncio.create_task(kept.get("filter", LONG, make)) for _ in range(20)]
        await asyncio.sleep(0)  # the loop goes on
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        make.may_end.set()
        assert set(await asyncio.gather(*waiting[1:])) == {("made", len(LONG))}
        assert len(make.made) == 1
        assert threading.get_ident() not in make.threads
        await kept.get("filter", LONG, make)
        assert len(make.made) == 1
        kept.close()

    asyncio.run(run())


def test_the_last_used_stay_within_the_bound(make: Maker) -> None:
    async def run() -> None:
        kept = Kept(most_bytes=10)
        for tools in (b"[1,2]", b"[3,4]"):
            await kept.get("", tools, make)
        await kept.get("", b"[1,2]", make)
        await kept.get("", b"[5]", make)  # in place of [3,4], which was used before [1,2]
        assert (kept.bytes, len(kept)) == (8, 2)
        make.made.clear()
        await kept.get("", b"[1,2]", make)
        assert make.made == []
        await kept.get("", b"[6,7,8,9,10]", make)  # more than all there is room for
        assert (kept.bytes, len(kept)) == (8, 2)
        await kept.get("", b"[3,4]", make)
        assert make.made == [b"[6,7,8,9,10]", b"[3,4]"]

    asyncio.run(run())


@pytest.mark.parametrize("tools", [b"[]", LONG])
def test_what_cannot_be_made_is_not_kept(tools: bytes, make: Maker) -> None:
    def refuse(tools: bytes) -> None:
        raise ValueError(len(tools))

    async def run() -> None:
        kept = Kept()
        for _ in range(2):
            with pytest.raises(ValueError, match=str(len(tools))):
                await kept.get("", tools, refuse)
        assert (len(kept), kept.bytes) == (0, 0)
        assert await kept.get("", tools, make) == ("made", len(tools))
        kept.close()

    asyncio.run(run())
