"""The account of requests: all of it, in order, whatever storage does meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest
from tests.contract.requests import MIDNIGHT, request

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.gateway.account.background import Accounting
from tiny_dancer.storage import MemoryStorage, SqliteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tiny_dancer.types import RequestRecord

ROOT = Path(__file__).parents[4]
LONG = 60.0  # seconds no test takes


def records(count: int, prefix: str = "") -> list[RequestRecord]:
    return [request(f"{prefix}{number}", MIDNIGHT + number) for number in range(count)]


def stored(storage: MemoryStorage | SqliteStorage) -> list[str]:
    return [each.id for each in storage.request_history(limit=None)][::-1]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SqliteStorage]:
    with SqliteStorage(tmp_path / "a.db") as opened:
        yield opened


@contextmanager
def locked(storage: SqliteStorage) -> Iterator[None]:
    """Another program holds the write lock."""
    connection = apsw.Connection(str(storage.path))
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


class Failing(MemoryStorage):
    """Writes fail as often as told."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.times = times
        self.tried = threading.Semaphore(0)

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        try:
            if self.times > 0:
                self.times -= 1
                raise StorageError("a.db", "no space left", "free space")
            super().record_requests(records)
        finally:
            self.tried.release()


def test_every_record_reaches_storage_and_each_sink_once_in_order(storage: SqliteStorage) -> None:
    seen: list[list[str]] = [[], []]
    sinks: list[Callable[[Sequence[RequestRecord]], None]] = [
        lambda batch, to=to: to.extend(each.id for each in batch)  # type: ignore[misc]
        for to in seen
    ]
    given = records(5000)
    expected = [each.id for each in given]
    accounting = Accounting(storage, sinks)
    for each in given[:2500]:
        accounting.put(each)
    assert accounting.flush(LONG)
    assert stored(storage) == expected[:2500]
    assert accounting.queued == 0
    for each in given[2500:]:
        accounting.put(each)
    assert accounting.close(LONG)
    assert accounting.close(LONG)
    assert stored(storage) == expected
    assert seen == [expected, expected]
    assert (accounting.queued, accounting.dropped, accounting.last_error) == (0, 0, None)


def test_nothing_put_is_nothing_written(storage: SqliteStorage) -> None:
    calls: list[object] = []
    with Accounting(storage, [calls.append]) as accounting:
        assert accounting.flush(LONG)
    assert calls == []
    assert stored(storage) == []


def test_a_record_is_written_without_being_asked_for() -> None:
    storage = Failing(0)
    with Accounting(storage) as accounting:
        accounting.put(request("a"))
        assert storage.tried.acquire(timeout=LONG)
        assert stored(storage) == ["a"]


def test_a_locked_database_holds_up_neither_requests_nor_sinks(storage: SqliteStorage) -> None:
    seen: list[str] = []
    arrived = threading.Event()

    def sink(batch: Sequence[RequestRecord]) -> None:
        seen.extend(each.id for each in batch)
        if len(seen) == 300:
            arrived.set()

    accounting = Accounting(storage, [sink])
    with locked(storage):
        for each in records(300):
            accounting.put(each)
        assert arrived.wait(LONG)
        assert not accounting.flush(0.01)
        assert (accounting.queued, accounting.dropped) == (300, 0)
        assert stored(storage) == []
    assert accounting.flush(LONG)
    assert stored(storage) == seen
    assert accounting.close(LONG)


def test_what_waits_is_bounded_and_the_rest_is_counted(storage: SqliteStorage) -> None:
    accounting = Accounting(storage, capacity=50)
    with locked(storage):
        for each in records(1000):
            accounting.put(each)
        # Those on their way from one queue to the next count too: no look finds more than may wait.
        assert not accounting.flush(0.01)
        for each in records(1000, "more "):
            accounting.put(each)
        assert accounting.queued == 50
        assert accounting.dropped == 1950
    assert accounting.flush(LONG)
    assert stored(storage) == [f"{number}" for number in range(50)]
    accounting.put(request("after"))
    assert accounting.close(LONG)
    assert "after" in stored(storage)
    assert accounting.dropped == 1950


def test_closing_gives_a_locked_database_up_in_time(storage: SqliteStorage) -> None:
    accounting = Accounting(storage)
    with locked(storage):
        for each in records(100):
            accounting.put(each)
        assert not accounting.close(timeout=0.2)
        assert (accounting.queued, accounting.dropped) == (0, 100)
        accounting.put(request("late"))
        assert accounting.dropped == 101


def test_a_write_that_failed_is_tried_again_in_order() -> None:
    storage = Failing(2)
    accounting = Accounting(storage)
    for each in records(100):
        accounting.put(each)
    assert storage.tried.acquire(timeout=LONG)
    accounting.put(request("100", MIDNIGHT + 100))
    assert accounting.flush(LONG)
    assert accounting.last_error is None
    assert stored(storage) == [f"{number}" for number in range(101)]
    assert accounting.dropped == 0
    accounting.close()


def test_what_failed_comes_before_what_came_meanwhile_and_in_its_own_order() -> None:
    """Storage sorts by time when it is read: here it is written that counts."""

    class Ordered(Failing):
        def __init__(self) -> None:
            super().__init__(1)
            self.written: list[str] = []

        def record_requests(self, records: Sequence[RequestRecord]) -> None:
            super().record_requests(records)
            self.written += [each.id for each in records]

    storage = Ordered()
    accounting = Accounting(storage)
    for each in records(100):
        accounting.put(each)
    assert storage.tried.acquire(timeout=LONG)
    for each in records(100, "later "):
        accounting.put(each)
    assert accounting.close(LONG)
    assert storage.written == [*(f"{n}" for n in range(100)), *(f"later {n}" for n in range(100))]


def test_a_storage_that_fails_for_good_is_said_and_counted() -> None:
    storage = Failing(float("inf"))
    accounting = Accounting(storage, capacity=10)
    for each in records(30):
        accounting.put(each)
    assert storage.tried.acquire(timeout=LONG)
    assert storage.tried.acquire(timeout=LONG)
    assert isinstance(accounting.last_error, StorageError)
    assert "no space left" in str(accounting.last_error)
    assert accounting.dropped + accounting.queued == 30
    assert not accounting.close(timeout=0.1)
    assert (accounting.queued, accounting.dropped) == (0, 30)


def test_closing_ends_the_wait_for_another_try() -> None:
    storage = Failing(4)
    accounting = Accounting(storage)
    accounting.put(request("a"))
    for _ in range(3):
        assert storage.tried.acquire(timeout=LONG)
    assert accounting.close(LONG)
    assert stored(storage) == ["a"]


def test_a_full_disk_is_survived(storage: SqliteStorage) -> None:
    def limit(pages: int) -> None:
        storage._writer.submit(lambda connection: connection.pragma("max_page_count", pages), alone=True)

    accounting = Accounting(storage)
    limit(30)
    for number in range(200):
        accounting.put(request(f"{number}", MIDNIGHT + number, query_text="x" * 5000))
    # Nothing of a batch that does not fit is kept: it comes whole or not at all.
    while accounting.last_error is None:
        assert not accounting.flush(0.05)
    assert "no space left" in str(accounting.last_error)
    limit(10_000)
    assert accounting.close(LONG)
    assert stored(storage) == [f"{number}" for number in range(200)]
    assert accounting.dropped == 0


def test_a_sink_whose_disk_is_full_keeps_nobody_from_the_records(storage: SqliteStorage) -> None:
    seen: list[RequestRecord] = []

    def full(batch: Sequence[RequestRecord]) -> None:
        raise OSError(28, "No space left on device")

    accounting = Accounting(storage, [full, seen.extend])
    accounting.put(request("a"))
    assert accounting.flush(LONG)
    assert isinstance(accounting.last_error, OSError)
    accounting.put(request("b"))
    assert accounting.close(LONG)
    assert [each.id for each in seen] == sorted(stored(storage)) == ["a", "b"]


def test_many_threads_and_a_storage_that_fails_now_and_then_lose_and_repeat_nothing() -> None:
    class Flaky(Failing):
        def record_requests(self, records: Sequence[RequestRecord]) -> None:
            self.times = 1 if len(records) % 3 == 0 and self.times == 0 else 0
            super().record_requests(records)

    storage = Flaky(0)
    seen: Counter[str] = Counter()
    accounting = Accounting(
        storage, [lambda batch: seen.update(each.id for each in batch)], capacity=500, interval=1e-4
    )

    def put(name: str) -> None:
        for each in records(3000, name):
            accounting.put(each)

    threads = [threading.Thread(target=put, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accounting.close(LONG)
    kept = stored(storage)
    assert len(kept) + accounting.dropped == 12_000
    assert seen == Counter(kept)
    assert max(seen.values()) == 1


@pytest.mark.parametrize("options", [{"capacity": 0}, {"interval": 0.0}, {"interval": float("nan")}])
def test_bad_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Accounting(MemoryStorage(), **options)  # type: ignore[arg-type]


SERVER = """
import signal, sys
from tests.contract.requests import request
from tiny_dancer.gateway.account.background import Accounting
from tiny_dancer.storage import SqliteStorage

path, how = sys.argv[1:]
storage = SqliteStorage(path)
accounting = Accounting(storage, interval=3600)

def end(number, frame):
    assert accounting.close(60)
    storage.close()
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
for number in range(1000):
    accounting.put(request(f"{number}"))
print("ready", flush=True)
if how == "signal":
    while True:
        signal.pause()
"""


@pytest.mark.parametrize("how", ["signal", "end of the program"])
def test_a_process_that_ends_writes_what_waits(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.db"
    server = subprocess.Popen([sys.executable, "-c", SERVER, path, how], cwd=ROOT, stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server:
        assert server.stdout.readline() == b"ready\n"
        if how == "signal":
            server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=LONG) == 0
    with SqliteStorage(path, create=False) as opened:
        assert opened.verify().requests == 1000
