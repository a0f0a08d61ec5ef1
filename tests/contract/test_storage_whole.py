"""The database as a whole, for every storage backend: what is removed with time, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.candidates import NOW, record, vector
from tests.contract.requests import api_key, request

from tiny_dancer.errors import OptionError, StorageError
from tiny_dancer.storage import (
    CandidateRecord,
    Feedback,
    MemoryStorage,
    Outcome,
    RoutingRecord,
    RowCounts,
    SqliteStorage,
)
from tiny_dancer.storage.sqlite import history

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def fill(storage: Storage) -> None:
    storage.insert_candidate(CandidateRecord("kept"))
    for number in range(10):
        storage.record_routing(RoutingRecord(f"{number}", "request", "a model", NOW + number))
    storage.flush()
    for number in range(4):
        storage.record_feedback(Feedback(f"{number}", 1.0, time=NOW + number))
        storage.record_outcome(Outcome(f"{number}", "m", 1.0, time=NOW + number))


def times(storage: Storage) -> tuple[list[float], list[float], list[float]]:
    """Of what is left, from NOW."""
    return (
        [each.time - NOW for each in storage.routing_history()],
        [each.time - NOW for each in storage.outcome_history()],
        [each.time - NOW for each in storage.feedback_history()],
    )


def test_retention_by_age(storage: Storage) -> None:
    fill(storage)
    assert storage.apply_retention(max_age_s=7, now=NOW + 9) == RowCounts(0, 2, 2, 2)
    assert times(storage) == ([9, 8, 7, 6, 5, 4, 3, 2], [3, 2], [3, 2])
    assert storage.apply_retention(max_age_s=7, now=NOW + 9) == RowCounts(0, 0, 0, 0)
    assert storage.verify() == RowCounts(1, 8, 2, 2, changes=1)


def test_retention_by_count(storage: Storage) -> None:
    fill(storage)
    assert storage.apply_retention(max_rows=3) == RowCounts(0, 7, 1, 1)
    assert times(storage) == ([9, 8, 7], [3, 2, 1], [3, 2, 1])


def test_retention_by_both_keeps_what_passes_both(storage: Storage) -> None:
    fill(storage)
    assert storage.apply_retention(max_rows=3, max_age_s=1, now=NOW + 9) == RowCounts(0, 8, 4, 4)
    assert times(storage) == ([9, 8], [], [])
    assert storage.apply_retention(max_rows=0) == RowCounts(0, 2, 0, 0, changes=1)
    assert [each.id for each in storage.get_candidates()] == ["kept"]


def test_of_one_time_those_stored_later_are_kept(storage: Storage) -> None:
    for number in range(10):
        storage.record_routing(RoutingRecord(f"{number}", "request", "a model", NOW))
        storage.record_requests([request(id=f"{9 - number}", time=NOW)])
    storage.flush()
    found = storage.apply_retention(max_rows=3)
    assert (found.routing, found.requests) == (7, 7)
    assert [each.decision_id for each in storage.routing_history()] == ["9", "8", "7"]
    assert [each.id for each in storage.request_history()] == ["0", "1", "2"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-5, 5), max_size=30),
    st.none() | st.integers(0, 12),
    st.none() | st.integers(0, 12),
    st.integers(1, 4),
)
def test_every_backend_keeps_the_same(
    tmp_path_factory: pytest.TempPathFactory, moments: list[int], most: int | None, age: int | None, at_once: int
) -> None:
    path = tmp_path_factory.mktemp("retention") / "a.db"
    with (
        MemoryStorage() as memory,
        SqliteStorage(path, mirror=False) as sqlite,
        mock.patch.object(history, "REMOVED_AT_ONCE", at_once),
    ):
        found = []
        for storage in (memory, sqlite):
            for row, moment in enumerate(moments):
                storage.record_routing(RoutingRecord(f"{row}", "request", "a model", float(moment)))
                storage.record_feedback(Feedback(f"{row}", 1.0, time=moment))
                storage.record_outcome(Outcome(f"{row}", "m", 1.0, time=moment))
                storage.record_requests([request(id=f"{-row}", time=abs(float(moment)))])
            storage.flush()
            if most is not None or age is not None:
                found.append(storage.apply_retention(max_rows=most, max_age_s=age, now=5))
            storage.flush()
        assert len(set(found)) <= 1
        assert sqlite.routing_history() == memory.routing_history()
        assert sqlite.feedback_history() == memory.feedback_history()
        assert sqlite.outcome_history() == memory.outcome_history()
        assert sqlite.request_history() == memory.request_history()


def test_retention_leaves_keys(storage: Storage) -> None:
    storage.insert_api_key(api_key("k"))
    assert storage.apply_retention(max_rows=0).api_keys == 0
    assert storage.api_keys() == (api_key("k"),)


def test_bad_limits_are_refused(storage: Storage) -> None:
    for call in (
        storage.apply_retention,
        lambda: storage.apply_retention(max_rows=-1),
        lambda: storage.apply_retention(max_rows=1.5),  # type: ignore[arg-type]
        lambda: storage.apply_retention(max_age_s=-1),
        lambda: storage.apply_retention(max_age_s=float("nan")),
    ):
        with pytest.raises(OptionError):
            call()


def test_closed_storage_says_so(storage: Storage) -> None:
    storage.insert_candidate(record("a", 1, 0))
    storage.close()
    storage.close()
    for call in (
        lambda: storage.insert_candidate(record("b", 1, 0)),
        lambda: storage.query_candidates(vector(1, 0)),
        storage.get_candidates,
        storage.flush,
        storage.verify,
        storage.vacuum,
    ):
        with pytest.raises(StorageError, match="closed"):
            call()
