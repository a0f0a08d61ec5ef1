"""What a process had yet to write, found by another when it is gone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import StorageError
from tiny_dancer.gateway.account import spool as module
from tiny_dancer.gateway.account.background import Accounting
from tiny_dancer.gateway.account.spool import Seat, Spool, free_seats, recover, take_seat
from tiny_dancer.storage import MemoryStorage, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def record(id: str, **more: object) -> RequestRecord:
    fields = {"time": 1.7e9, "endpoint": "messages", "key": "k", "asked": "m", "status": 200, **more}
    return RequestRecord(id=id, **fields)  # type: ignore[arg-type]


def killed(seat: Seat, spool: Spool) -> None:
    """What becomes of the files of a process that is killed: they are closed, and nothing else."""
    seat.leave()
    spool.close(keep=True)


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.glob("*.records"))


def ids(storage: MemoryStorage) -> set[str]:
    return {each.id for each in storage.request_history(limit=None)}


def test_what_was_left_is_written_once_and_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    storage = MemoryStorage()
    seat = take_seat(tmp_path, 4, storage)
    spool = Spool(seat)
    odd = record("odd", asked="half \ud83d", scores={"a": float("nan")}, error="\0")
    for each in (record("a"), odd, record("b", cost=0.5)):
        spool.end(each)
    storage.record_requests([record("a")])
    assert ids(storage) == {"a"}
    killed(seat, spool)
    again = take_seat(tmp_path, 4, storage)
    assert again.number == 0
    assert ids(storage) == {"a", "odd", "b"}
    assert files(tmp_path) == []
    assert "3 requests that a process left behind" in caplog.text
    assert recover(again, storage) == 0


def test_a_request_that_began_counts_as_it_was_foreseen_unless_it_ended(tmp_path: Path) -> None:
    storage = MemoryStorage()
    seat = take_seat(tmp_path, 4, storage)
    spool = Spool(seat)
    spool.begin(record("ended", cost=9.0, error="process_killed"))
    spool.begin(record("cut", cost=8.0, error="process_killed"))
    spool.end(record("ended", cost=1.0))
    spool.begin(record("cut", cost=7.0, error="process_killed"))
    killed(seat, spool)
    take_seat(tmp_path, 4, storage).leave()
    assert {each.id: each.cost for each in storage.request_history()} == {"ended": 1.0, "cut": 7.0}


def test_files_go_when_storage_has_their_records_and_no_request_of_theirs_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LENGTH", 1000)
    spool = Spool(take_seat(tmp_path, 4, MemoryStorage()))
    spool.begin(record("long"))
    for number in range(40):
        spool.end(record(f"{number}"))
    before = files(tmp_path)
    assert len(before) > 4
    spool.forget(0)
    assert files(tmp_path) == before
    spool.forget(40)
    # The one with the request that goes on, and the one written to.
    assert files(tmp_path) == [before[0], max(before, key=lambda name: int(name[2:].split(".")[0]))]
    spool.end(record("long"))
    spool.forget(41)
    assert len(files(tmp_path)) == 1
    spool.close(keep=False)
    assert files(tmp_path) == []


def test_a_seat_is_one_process_s_and_free_when_that_is_gone(tmp_path: Path) -> None:
    storage = MemoryStorage()
    seats = [take_seat(tmp_path, 3, storage) for _ in range(3)]
    assert [each.number for each in seats] == [0, 1, 2]
    with pytest.raises(StorageError, match="3 processes"):
        take_seat(tmp_path, 3, storage)
    spool = Spool(seats[1])
    spool.end(record("a"))
    assert list(free_seats(tmp_path, seats[0])) == []
    seats[1].leave()
    for found in free_seats(tmp_path, seats[0]):
        assert found.number == 1
        assert recover(found, storage) == 1
    assert take_seat(tmp_path, 3, storage).number == 1


@given(st.data())
def test_a_file_that_was_cut_gives_all_that_is_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, storage = tmp_path_factory.mktemp("spool"), MemoryStorage()
    seat = take_seat(folder, 4, storage)
    spool = Spool(seat)
    ends = []
    for number in range(data.draw(st.integers(1, 5))):
        spool.end(record(f"{number}", asked="x" * number))
        ends.append(spool._file.size)
    (path,) = folder.glob("*.records")
    cut = data.draw(st.integers(0, ends[-1]))
    with path.open("r+b") as file:
        file.truncate(cut)
    killed(seat, spool)
    take_seat(folder, 4, storage).leave()
    assert ids(storage) == {f"{number}" for number, end in enumerate(ends) if end <= cut}


def test_what_others_put_beside_the_files_is_left_alone(tmp_path: Path) -> None:
    storage = MemoryStorage()
    seat = take_seat(tmp_path, 4, storage)
    spool = Spool(seat)
    spool.end(record("a"))
    for name in ("0-a.records", "0-0.records.bak", "0-1.records~", "x.lock", "note"):
        (tmp_path / name).write_bytes(b"x")
    killed(seat, spool)
    take_seat(tmp_path, 4, storage).leave()
    assert ids(storage) == {"a"}
    assert (tmp_path / "0-a.records").exists()


def test_a_full_disk_is_said_once_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LENGTH", 1000)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    storage = MemoryStorage()
    seat = take_seat(tmp_path, 4, storage)
    spool = Spool(seat)
    spool.end(record("a"))
    write = os.write
    with monkeypatch.context() as patched:
        # As much as there was room for.
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
        for name in "bc":
            spool.end(record(name, asked="m" * 1000))
    assert len(caplog.records) == 1
    assert len(files(tmp_path)) == 1, "nothing half made stays"
    spool.end(record("d", asked="m" * 1000))
    killed(seat, spool)
    take_seat(tmp_path, 4, storage).leave()
    assert ids(storage) == {"a", "d"}


def test_accounting_keeps_what_storage_did_not_take_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "unwritten"
    with SqliteStorage(tmp_path / "a.db", mirror=False) as storage:
        record_requests = storage.record_requests
        seat = take_seat(folder, 4, storage)
        accounting = Accounting(storage, spool=Spool(seat))
        accounting.put(record("a"))
        assert accounting.flush(30)

        def fail(records: Sequence[RequestRecord]) -> None:
            raise StorageError("database", "locked", "wait")

        monkeypatch.setattr(storage, "record_requests", fail)
        accounting.begin(record("b", error="process_killed"))
        accounting.put(record("b"))
        assert not accounting.close(0.2)
        assert accounting.dropped == 0
        assert files(folder)
        seat.leave()
        with pytest.raises(StorageError):
            take_seat(folder, 4, storage)
        # A worker whose money is on the others' table serves meanwhile.
        take_seat(folder, 4, storage, {0}.__contains__).leave()
        assert take_seat(folder, 4, storage, {0}.__contains__).number == 1
        monkeypatch.setattr(storage, "record_requests", record_requests)
        take_seat(folder, 4, storage)
        assert [(each.id, each.error) for each in storage.request_history()] == [("b", ""), ("a", "")]
    with SqliteStorage(tmp_path / "a.db", mirror=False) as storage:
        seat = take_seat(tmp_path / "other", 4, storage)
        with Accounting(storage, spool=Spool(seat)) as accounting:
            accounting.put(record("c"))
        assert files(tmp_path / "other") == []
