"""The lock that readers share."""

from __future__ import annotations

import threading

from tiny_dancer.storage.shared_lock import SharedLock


def test_readers_hold_it_together() -> None:
    lock = SharedLock()
    together = threading.Barrier(3, timeout=30)

    def read() -> None:
        with lock.reading:
            together.wait()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken


def test_a_writer_holds_it_alone() -> None:
    lock = SharedLock()
    state = {"value": 0, "torn": 0}

    def write() -> None:
        for _ in range(300):
            with lock.writing:
                before = state["value"]
                state["half"] = True
                state["value"] = before + 1
                del state["half"]

    def read() -> None:
        for _ in range(300):
            with lock.reading:
                state["torn"] += "half" in state

    threads = [threading.Thread(target=each) for each in (write, read, write, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state == {"value": 600, "torn": 0}


def test_a_waiting_writer_goes_before_new_readers() -> None:
    lock = SharedLock()
    order: list[str] = []
    with lock.reading:
        writer = threading.Thread(target=lambda: _hold(lock.writing, order, "writer"))
        writer.start()
        while not lock.waiting:
            pass
        reader = threading.Thread(target=lambda: _hold(lock.reading, order, "reader"))
        reader.start()
        order.append("first reader")
    writer.join()
    reader.join()
    assert order == ["first reader", "writer", "reader"]


def _hold(held: object, order: list[str], name: str) -> None:
    with held:  # type: ignore[attr-defined]
        order.append(name)
