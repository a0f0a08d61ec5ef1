"""Recording beside the answer: nothing waits for it and nothing fails with it."""

from __future__ import annotations

from threading import Event, Lock, Thread

import pytest

from tiny_dancer import OptionError, StorageError
from tiny_dancer.resilience import Recording


def test_records_arrive_once_and_in_order() -> None:
    taken: list[int] = []
    recording = Recording(taken.append)
    for number in range(5000):
        recording.put(number)
    assert recording.flush(30)
    assert taken == list(range(5000))
    assert recording.status().recorded == 5000
    assert recording.status().waiting == 0


def test_a_recorder_that_hangs_holds_up_nobody_and_a_full_queue_drops() -> None:
    go = Event()
    taken: list[int] = []

    def slow(record: int) -> None:
        go.wait(60)
        taken.append(record)

    recording = Recording(slow, capacity=10)
    for number in range(100):
        recording.put(number)  # would never return if it waited
    assert not recording.flush(0.01)
    status = recording.status()
    assert status.dropped >= 89  # one may be with the recorder already, ten wait
    assert status.waiting + status.dropped == 100
    go.set()
    assert recording.close(30)
    assert taken[:10] == list(range(10))
    assert taken == sorted(set(taken))
    assert recording.status().recorded + recording.status().dropped == 100


def test_a_recorder_that_fails_is_counted_and_asked_again() -> None:
    lock, taken = Lock(), []

    def failing(record: int) -> None:
        with lock:
            if record % 2:
                raise StorageError("database", "gone", "bring it back")
            taken.append(record)

    recording = Recording(failing)
    for number in range(20):
        recording.put(number)
    assert recording.flush(30)
    status = recording.status()
    assert (status.recorded, status.failed, status.dropped) == (10, 10, 0)
    assert isinstance(status.last_error, StorageError)
    assert taken == list(range(0, 20, 2))


def test_without_a_thread_records_wait_for_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    taken: list[int] = []
    recording = Recording(taken.append)
    with monkeypatch.context() as patch:
        patch.setattr(Thread, "start", refuse)
        recording.put(1)
    assert isinstance(recording.status().last_error, RuntimeError)
    recording.put(2)
    assert recording.flush(30)
    assert taken == [1, 2]


def test_after_closing_records_are_dropped_and_counted() -> None:
    taken: list[int] = []
    recording = Recording(taken.append)
    recording.put(1)
    assert recording.close(30)
    recording.put(2)
    assert recording.flush(30)
    assert taken == [1]
    assert recording.status().dropped == 1


def test_a_queue_holds_at_least_one() -> None:
    with pytest.raises(OptionError):
        Recording(print, capacity=0)
