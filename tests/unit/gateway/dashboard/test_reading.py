"""Reads for the dashboard: shared, kept for a moment, bounded in time and number, and never in the event loop."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.dashboard.reading import Reader
from tiny_dancer.gateway.errors import GatewayError
from tiny_dancer.storage import SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with SqliteStorage(tmp_path / "a.db", mirror=False):
        return tmp_path / "a.db"


def run(path: Path, work: Callable[[Reader, Clock], Coroutine[Any, Any, None]], patience: float = 30.0) -> None:
    async def main() -> None:
        clock = Clock()
        reader = Reader(path, patience=patience, clock=clock)
        try:
            await work(reader, clock)
        finally:
            reader.close()

    asyncio.run(main())


def test_all_who_ask_the_same_wait_for_one_read(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        go, counted = threading.Event(), []

        def slowly(_: SqliteStorage) -> int:
            counted.append(threading.current_thread())
            assert go.wait(30)
            return 7

        asked = [asyncio.ensure_future(reader.read("x", slowly)) for _ in range(50)]
        while not counted:
            await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asked) == [7] * 50
        assert len(counted) == 1
        assert counted[0] is not threading.main_thread()

    run(path, work)


def test_what_took_long_is_kept_longer(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        reads = 0

        def read(_: SqliteStorage) -> int:
            nonlocal reads
            reads += 1
            clock.now += 3.0
            return reads

        assert await reader.read("x", read) == 1
        clock.now += 29.0
        assert await reader.read("x", read) == 1
        clock.now += 2.0
        assert await reader.read("x", read) == 2

    run(path, work)


def test_who_waits_too_long_is_told_and_finds_it_later(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        go = threading.Event()

        def slowly(_: SqliteStorage) -> str:
            assert go.wait(30)
            return "there"

        with pytest.raises(GatewayError) as caught:
            await reader.read("x", slowly)
        assert (caught.value.status, caught.value.code) == (503, "storage_unavailable")
        go.set()
        while True:
            try:
                assert await reader.read("x", slowly) == "there"
            except GatewayError:
                continue
            return

    run(path, work, patience=0.01)


def test_there_is_an_end_to_what_may_wait(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        go = threading.Event()
        asked = [asyncio.ensure_future(reader.read(each, lambda _: go.wait(30))) for each in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(GatewayError, match="as much as it may"):
            await reader.read("one more", lambda _: None)
        go.set()
        await asyncio.gather(*asked)
        assert await reader.read("one more", lambda _: 1) == 1

    run(path, work)


def test_a_database_that_is_not_there_is_no_end(tmp_path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        with pytest.raises(GatewayError) as caught:
            await reader.read("x", lambda storage: storage.api_keys())
        assert caught.value.status == 503
        with SqliteStorage(tmp_path / "later.db", mirror=False):
            pass
        assert await reader.read("x", lambda storage: storage.api_keys()) == ()

    run(tmp_path / "later.db", work)


def test_after_a_failure_it_is_opened_anew(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        seen: list[SqliteStorage] = []

        def fail(storage: SqliteStorage) -> None:
            seen.append(storage)
            raise StorageError("a", "b", "c")

        with pytest.raises(GatewayError):
            await reader.read("x", fail)
        other = await reader.read("y", lambda storage: storage)
        assert seen[0] is not other

    run(path, work)


def test_what_is_kept_is_bounded(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        for each in range(300):
            await reader.read(each, lambda _: b"x" * 100)
        assert len(reader._kept) <= 64

    run(path, work)


def test_a_bug_in_a_read_reaches_who_asked_and_ends_nothing(path: Path) -> None:
    async def work(reader: Reader, clock: Clock) -> None:
        with pytest.raises(ZeroDivisionError):
            await reader.read("x", lambda _: 1 / 0)
        assert await reader.read("x", lambda _: 1) == 1

    run(path, work)
