"""The thread that writes survives whatever reaches it: what cannot be written is lost alone, and said."""

from __future__ import annotations

import ctypes
import threading
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.storage.databases import NOW, fill

from tiny_dancer.errors import CandidateError, StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, MemoryStorage, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite import candidates, history
from tiny_dancer.storage.sqlite.connection import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def queueing(opened: SqliteStorage) -> Iterator[None]:
    """What is written within is queued, and comes to the writer as one batch at the end."""
    blocker = connect(opened.path)
    blocker.execute("BEGIN IMMEDIATE")
    first = opened._writer._enqueue(lambda connection: None, alone=False)
    # The writer takes this one and waits for the lock.
    while opened._writer._queue:
        pass
    try:
        yield
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
        first.result()


def decision(id: str) -> RoutingRecord:
    return RoutingRecord(id, "request", "m", NOW)


def unwritable(id: str) -> RoutingRecord:
    """A record that no check has let through."""
    record = decision(id)
    object.__setattr__(record, "shown", (object(),))
    return record


def write_something(connection: apsw.Connection) -> None:
    history.put_feedback(connection, Feedback("undone", 1.0, None, NOW))


def raising(error: BaseException) -> Callable[[apsw.Connection], None]:
    def action(connection: apsw.Connection) -> None:
        write_something(connection)
        raise error

    return action


def ending_the_transaction(connection: apsw.Connection) -> None:
    write_something(connection)
    connection.execute("ROLLBACK")
    raise ValueError("and raises")


def failing_statement(connection: apsw.Connection) -> None:
    write_something(connection)
    connection.execute("INSERT INTO feedback (decision_id) VALUES (NULL)")


def wrong_value(connection: apsw.Connection) -> None:
    write_something(connection)
    connection.execute("SELECT ?", (object(),))


class Odd(BaseException):
    pass


# What each does, and what its caller gets.
FAILURES: dict[str, tuple[Callable[[apsw.Connection], None], type[BaseException]]] = {
    "a defect": (raising(ZeroDivisionError()), ZeroDivisionError),
    "a typed error": (raising(CandidateError("id", "a", "other")), CandidateError),
    "the system's": (raising(OSError(5, "input")), OSError),
    "no memory": (raising(MemoryError()), MemoryError),
    "an interruption": (raising(KeyboardInterrupt()), KeyboardInterrupt),
    "an exit": (raising(SystemExit(3)), SystemExit),
    "no exception's": (raising(Odd()), Odd),
    "a full disk": (raising(apsw.FullError("full")), StorageError),
    "a broken disk": (raising(apsw.IOError("broken")), StorageError),
    "no transaction left": (ending_the_transaction, ValueError),
    "a failing statement": (failing_statement, StorageError),
    "a wrong value": (wrong_value, TypeError),
}
STEPS = st.sampled_from(["decision", "unwritable", "feedback", "candidate", *FAILURES])


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=12))
@example(["decision", *FAILURES, "feedback", "decision", "unwritable", "candidate"])
@example(["unwritable", "unwritable"])
def test_what_fails_fails_alone(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    path = tmp_path_factory.mktemp("writer") / "a.db"
    waiting: list[tuple[str, Future[Any]]] = []
    with MemoryStorage() as expected, SqliteStorage(path) as opened:
        opened.insert_candidate(CandidateRecord("known", np.ones(2, np.float32), created_at=NOW))
        opened.query_candidates([1, 0])
        with queueing(opened):
            for place, step in enumerate(steps):
                id = f"{place}"
                if step in ("decision", "unwritable"):
                    assert opened.record_routing(decision(id) if step == "decision" else unwritable(id))
                    if step == "decision":
                        expected.record_routing(decision(id))
                    continue
                action: Callable[[apsw.Connection], Any]
                if step == "feedback":
                    about = Feedback(id, 1.0, None, NOW)
                    expected.record_feedback(about)
                    action = partial(history.put_feedback, feedback=about)
                elif step == "candidate":
                    rows = (CandidateRecord(id, text="x", created_at=NOW, updated_at=NOW),)
                    expected.insert_candidates(rows)
                    action = partial(candidates.insert_candidates, records=rows, dimension=None, by=None)
                else:
                    action = FAILURES[step][0]
                waiting.append((step, opened._writer._enqueue(action, alone=False)))
        lost = steps.count("unwritable")
        if lost:
            with pytest.raises(StorageError, match=rf"{lost} routing records.*TypeError"):
                opened.flush()
        opened.flush()
        wait([each for _, each in waiting], 60)
        for step, each in waiting:
            error = each.exception(0)
            assert type(error) is (FAILURES[step][1] if step in FAILURES else type(None))
        assert opened.get_statistics().dropped == lost
        assert opened._writer._thread.is_alive()
        assert opened.routing_history() == expected.routing_history()
        assert opened.feedback_history() == expected.feedback_history()
        found = {each.id: each for each in opened.get_candidates()}
        assert found.pop("known").access_count == 1
        assert found.keys() == {each.id for each in expected.get_candidates()}
        opened.verify()


def test_of_a_thousand_decisions_one_that_cannot_be_written_is_lost(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as opened:
        with queueing(opened):
            for row in range(1000):
                opened.record_routing(unwritable("bad") if row == 500 else decision(f"{row}"))
        with pytest.raises(StorageError, match=r"1 routing records.*lost.*TypeError") as caught:
            opened.flush()
        assert isinstance(caught.value.__cause__, TypeError)
        found = opened.get_statistics()
        assert (found.routes, found.dropped) == (999, 1)


def test_one_write_that_has_no_room_leaves_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with SqliteStorage(path) as opened:
        fill(opened)
        opened._writer.submit(
            lambda connection: connection.pragma("max_page_count", connection.pragma("page_count") + 30),
            alone=True,
        )
        large = (CandidateRecord("large", text="x" * 1_000_000, created_at=NOW, updated_at=NOW),)
        with queueing(opened):
            for row in range(50):
                opened.record_routing(decision(f"late {row}"))
            refused = opened._writer._enqueue(
                lambda connection: candidates.insert_candidates(connection, large, None, None), alone=False
            )
            for row in range(50, 100):
                opened.record_routing(decision(f"late {row}"))
        opened.flush()
        with pytest.raises(StorageError, match="no space left"):
            refused.result(60)
        assert opened.get_statistics().routes == 110
        assert opened.get_statistics().dropped == 0


def test_a_commit_that_fails_is_said_to_all_and_the_next_goes_through(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as opened:
        opened._writer.submit(lambda connection: connection.set_commit_hook(lambda: True), alone=True)
        opened.record_routing(decision("a"))
        with pytest.raises(StorageError):
            opened.record_feedback(Feedback("a", 1.0))
        with pytest.raises(StorageError, match="routing records"):
            opened.flush()
        opened._writer.submit(lambda connection: connection.set_commit_hook(None), alone=True)
        opened.record_routing(decision("b"))
        opened.record_feedback(Feedback("b", 1.0))
        opened.flush()
        assert [each.decision_id for each in opened.routing_history()] == ["b"]
        assert [each.decision_id for each in opened.feedback_history()] == ["b"]
        assert opened.get_statistics().dropped == 1


@pytest.mark.parametrize("steps", [1, 3, 10, 40, 150])
def test_statements_that_are_stopped_anywhere_are_undone(tmp_path: Path, steps: int) -> None:
    """SQLite calls the handler every so many steps of its machine; stopping there fails the statement."""
    with SqliteStorage(tmp_path / "a.db") as opened:
        opened._writer.submit(lambda connection: connection.set_progress_handler(lambda: True, steps), alone=True)
        failed = 0
        for row in range(20):
            try:
                opened.record_feedback(Feedback(f"{row}", 1.0, "candidate"))
            except StorageError:
                failed += 1
            opened.record_routing(decision(f"{row}"))
        opened._writer.submit(lambda connection: connection.set_progress_handler(None), alone=True)
        try:
            opened.flush()
        except StorageError as error:
            assert "routing records" in str(error)
        opened.record_feedback(Feedback("last", 1.0))
        assert len(opened.feedback_history()) == 21 - failed
        assert opened.get_statistics().routes == 20 - opened.get_statistics().dropped
        opened.verify()


def test_an_interruption_of_the_thread_itself_does_not_end_it(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as opened:
        thread = opened._writer._thread
        for kind in (KeyboardInterrupt, MemoryError, SystemExit):
            assert thread.ident is not None
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(kind))
            opened.record_routing(decision(kind.__name__))
            opened.flush()
        assert thread.is_alive()
        assert opened.get_statistics().routes == 3
    assert not thread.is_alive()


def test_actions_alone_fail_alone_and_leave_no_transaction(tmp_path: Path) -> None:
    def leaving(connection: apsw.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        write_something(connection)
        raise ZeroDivisionError

    with SqliteStorage(tmp_path / "a.db") as opened:
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with pytest.raises(error):
                opened._writer.submit(leaving if error is ZeroDivisionError else raising(error()), alone=True)
        opened.record_feedback(Feedback("a", 1.0, None, NOW))
        # Outside a transaction what was written before it raised is written.
        assert {each.decision_id for each in opened.feedback_history()} == {"a", "undone"}


def test_many_threads_with_failures_among_them_get_each_their_own(tmp_path: Path) -> None:
    with SqliteStorage(tmp_path / "a.db") as opened:
        wrong: list[str] = []

        def work(thread: int) -> None:
            for row in range(30):
                name = list(FAILURES)[(thread + row) % len(FAILURES)]
                action, kind = FAILURES[name]
                try:
                    opened._writer.submit(action)
                except BaseException as error:  # noqa: BLE001
                    if not isinstance(error, kind):
                        wrong.append(f"{name}: {error!r}")
                opened.record_routing(decision(f"{thread} {row}"))
                opened.record_feedback(Feedback(f"{thread} {row}", 1.0))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        opened.flush()
        assert wrong == []
        assert len(opened.feedback_history()) == opened.get_statistics().routes == 180
