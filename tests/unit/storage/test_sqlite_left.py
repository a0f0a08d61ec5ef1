"""What is left behind: by errors somebody keeps, by what was purged, by programs of an earlier version."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.contract.candidates import ids

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import CandidateRecord, RoutingRecord, SqliteStorage
from tiny_dancer.storage.sqlite.connection import connect
from tiny_dancer.storage.sqlite.migrate import migrate, migrations

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import apsw

AXES = np.eye(4, dtype=np.float32)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Errors keep what they hold until somebody lets go of them."""
    gc.disable()
    yield
    gc.enable()


def change(path: Path, *statements: str) -> None:
    connection = connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.close()


READS: dict[str, Callable[[SqliteStorage], Any]] = {
    "get": lambda storage: storage.get_candidates(),
    "namespaces": lambda storage: storage.list_namespaces(),
    "words": lambda storage: storage.query_candidates("text"),
    "nearest": lambda storage: storage.query_candidates(AXES[0], filter={"user": "anna"}),
    "live": lambda storage: storage.live_candidates(),
    "history": lambda storage: storage.candidate_history(),
    "verify": lambda storage: storage.verify(),
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("read", READS)
def test_an_error_that_is_kept_shows_nobody_an_old_state(tmp_path: Path, mirror: bool, read: str) -> None:
    path = tmp_path / "agent.db"
    with SqliteStorage(path, mirror=mirror) as storage, SqliteStorage(path) as other:
        storage.insert_candidates(
            [CandidateRecord(f"{row}", AXES[row % 4], "text", namespace=("n", f"{row}")) for row in range(50)]
        )
        change(
            path,
            "UPDATE candidate SET metadata = '{broken', namespace = '[1]' WHERE id = '7'",
            "UPDATE candidate_history SET before = '{broken' WHERE candidate_id = '7'",
        )
        with pytest.raises(StorageError, match="7") as kept:
            READS[read](storage)
        other.delete_candidates(["7"], purge=True)
        other.insert_candidate(CandidateRecord("new", AXES[3], "zebra"))
        assert storage.candidate_history()[0].candidate_id == "new"
        assert ids(storage.query_candidates("zebra", 1)) == ["new"]
        assert "new" in ids(storage.query_candidates(AXES[3], 50))
        storage.vacuum()
        assert not (tmp_path / "agent.db-wal").stat().st_size
        assert kept.value.remedy


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("alone", [False, True])
def test_an_error_that_is_kept_locks_nobody_out(tmp_path: Path, alone: bool) -> None:
    def fails(connection: apsw.Connection) -> None:
        for _ in connection.execute("SELECT id FROM candidate"):
            raise KeyError("in the middle")

    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage, SqliteStorage(path) as other:
        storage.insert_candidates([CandidateRecord(f"{row}") for row in range(9)])
        with pytest.raises(KeyError) as kept:
            storage._writer.submit(fails, alone=alone)
        other.insert_candidate(CandidateRecord("other"))
        storage._writer._connection.set_busy_timeout(0)
        storage.insert_candidate(CandidateRecord("new"))
        assert len(storage.get_candidates()) == 11
        assert kept.value.args


def test_what_has_expired_goes_although_it_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        storage.insert_candidates([CandidateRecord(id, expires_at=time.time() - 1) for id in "abc"])
        change(path, "UPDATE candidate SET metadata = '{broken' WHERE id = 'b'")
        assert storage.remove_expired() == 3
        storage.verify()


@pytest.mark.parametrize(
    "spoilt", ['{"id":"a","created_at":1.0,"tex4":"x"}', '{"id":"a"}', '{"id":5,"created_at":1.0}']
)
def test_a_damaged_history_is_named(tmp_path: Path, spoilt: str) -> None:
    path = tmp_path / "agent.db"
    with SqliteStorage(path) as storage:
        storage.insert_candidate(CandidateRecord("a", text="x"))
        storage.delete_candidates(["a"])
        change(path, f"UPDATE candidate_history SET before = '{spoilt}' WHERE action = 'delete'")
        for call in (storage.candidate_history, storage.verify):
            with pytest.raises(StorageError, match="before in row 2 of table candidate_history"):
                call()


def test_of_what_was_purged_no_byte_is_left_after_vacuum(tmp_path: Path) -> None:
    secret = np.full(4, 0.123456, np.float32)
    needles = (b"SECRET", secret.tobytes())

    def left() -> int:
        content = b"".join(each.read_bytes() for each in tmp_path.iterdir())
        return sum(content.count(needle) for needle in needles)

    with SqliteStorage(tmp_path / "agent.db") as storage:
        storage.insert_candidates([CandidateRecord(f"{row}", AXES[row % 4], "x" * 300) for row in range(50)])
        for said in ("SECRET one", "SECRET two"):
            storage.upsert_candidates(
                [CandidateRecord("a", secret, said, metadata={"SECRET": 1}, namespace=("SECRET",), group="SECRET")]
            )
        storage.query_candidates("SECRET")
        storage.flush()
        assert left()
        storage.delete_candidates(["a"], purge=True)
        storage.vacuum()
        assert not left()
        storage.insert_candidate(CandidateRecord("b", text="SECRET"))
        storage.delete_candidates(["b"])
        storage.delete_candidates(["b"], purge=True)
        storage.vacuum()
        assert not left()
    assert not left()


OLD_INSERT = (
    "INSERT INTO candidate (number, id, text, created_at, access_count, success_count, trial_count, metadata, "
    "change) VALUES ({number}, '{id}', '{text}', 5.0, 0, 0.0, 0, '{{}}', (SELECT changes FROM state))"
)


def test_a_program_of_an_earlier_version_may_still_write(tmp_path: Path) -> None:
    """It has the file open while this one brings it to the present tables."""
    path = tmp_path / "agent.db"
    path.touch()
    old = connect(path)
    migrate(old, path, tuple(each for each in migrations() if each.name < "0005"))
    count = "UPDATE state SET changes = changes + 1"
    old.execute(count)
    old.execute(OLD_INSERT.format(number=1, id="a", text="tea"))
    with SqliteStorage(path) as storage:
        (a,) = storage.get_candidates()
        assert (a.namespace, a.ttl_s, a.expires_at, a.updated_at, a.metadata) == ((), None, None, 5.0, {})
        assert ids(storage.query_candidates("tea")) == ["a"]
        storage.flush()
        old.execute(count)
        old.execute(OLD_INSERT.format(number=2, id="b", text="coffee"))
        assert ids(storage.query_candidates("coffee", 1, touch=False)) == ["b"]
        old.execute(count)
        old.execute("DELETE FROM candidate WHERE id = 'a'")
        old.execute(OLD_INSERT.format(number=3, id="a", text="cocoa"))
        assert ids(storage.query_candidates("cocoa", 1, touch=False)) == ["a"]
        old.execute(count)
        old.execute("UPDATE candidate SET access_count = 7, change = (SELECT changes FROM state)")
        assert storage.query_candidates("cocoa", touch=False)[0].candidate.access_count == 7
        assert storage.get_candidates(["b"])[0].updated_at == 5.0
        old.close()


@pytest.mark.parametrize("mirror", [True, False])
def test_a_forgotten_storage_writes_what_is_queued_and_lets_go(tmp_path: Path, mirror: bool) -> None:
    storage = SqliteStorage(tmp_path / "agent.db", mirror=mirror)
    thread = storage._writer._thread  # type: ignore[union-attr]
    storage.insert_candidate(CandidateRecord("a", text="tea"))
    storage.query_candidates("tea")
    storage.record_routing(RoutingRecord("d", "candidates", "a"))
    del storage
    gc.collect()
    assert not thread.is_alive()
    assert [each.name for each in tmp_path.iterdir()] == ["agent.db"]
    with SqliteStorage(tmp_path / "agent.db") as again:
        assert again.get_candidates()[0].access_count == 1
        assert again.get_statistics().routes == 1


@pytest.mark.parametrize("path", [5, None, b"agent.db", [], ""])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(StorageError, match="path"):
        SqliteStorage(path)


@pytest.mark.parametrize("capacity", [None, "9", 0, -1, 1.5, True])
def test_what_is_no_capacity_is_refused(tmp_path: Path, capacity: Any) -> None:
    with pytest.raises(OptionError, match="queue_capacity"):
        SqliteStorage(tmp_path / "agent.db", queue_capacity=capacity)
