"""Any sequence of calls leaves every backend in the same state: that of a plain dictionary."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.postgres import emptied

from tiny_dancer.errors import CandidateError, OptionError, StorageError
from tiny_dancer.storage import CandidateRecord, Feedback, Filter, MemoryStorage, SqliteStorage, open_storage
from tiny_dancer.storage.metadata import metadata_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from tiny_dancer.storage import Storage

IDS = st.sampled_from(["a", "b", "c", "d", "ä'\"", "f"])
# Few and small, so that equal distances and replaced embeddings are common.
EMBEDDINGS = st.tuples(*[st.integers(-2, 2)] * 3).filter(any)
KEYS = st.sampled_from(["k", 'l"', "m.$", "n\\", "k.l"])
SCALARS = st.sampled_from(["", "x", "y'", 1, 1.0, "1", True, "true", 2**63])
JSON = st.one_of(
    SCALARS,
    st.none(),
    st.lists(st.none() | SCALARS, max_size=3),
    st.dictionaries(st.just("l"), SCALARS, max_size=1),
)
RECORDS = st.builds(
    CandidateRecord,
    IDS,
    st.none() | EMBEDDINGS.map(lambda numbers: np.array(numbers, np.float32)),
    created_at=st.integers(-3, 5).map(float),
    confidence=st.none() | st.floats(0, 1),
    metadata=st.dictionaries(KEYS, JSON, max_size=2),
    group=st.none() | st.sampled_from(["g", "h"]),
)
BATCHES = st.lists(RECORDS, max_size=4, unique_by=lambda record: record.id)
FILTERS = st.none() | st.builds(
    Filter,
    equals=st.dictionaries(KEYS, st.none() | SCALARS, max_size=1),
    any_of=st.dictionaries(KEYS, st.none() | st.lists(st.none() | SCALARS, max_size=2), max_size=1),
    has=st.lists(KEYS, max_size=1),
    ids=st.none() | st.lists(IDS, max_size=3),
    groups=st.none() | st.lists(st.sampled_from(["g", "h"]), max_size=2),
    created_from=st.none() | st.integers(-3, 5),
    created_before=st.none() | st.integers(-3, 5),
    min_success_rate=st.none() | st.sampled_from([0.0, 0.5]),
    min_trials=st.integers(0, 1),
    min_confidence=st.none() | st.floats(0, 1),
)


class StorageMachine(RuleBasedStateMachine):
    """Backends beside a dictionary. Two more objects have the same database open: other processes might."""

    def opened(self, *, mirror: bool = True) -> Storage:
        return SqliteStorage(Path(self.folder.name) / "a.db", mirror=mirror)

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.writers: list[Storage] = [MemoryStorage(), self.opened()]
        self.readers: list[Storage] = [*self.writers, self.opened(), self.opened(mirror=False)]
        self.stored: dict[str, CandidateRecord] = {}
        self.scores: dict[tuple[str, str], float] = {}

    def teardown(self) -> None:
        if hasattr(self, "readers"):
            for storage in self.readers:
                storage.verify()
                storage.close()
            self.folder.cleanup()

    @rule(records=BATCHES)
    def insert(self, records: list[CandidateRecord]) -> None:
        refused = any(record.id in self.stored for record in records)
        for storage in self.writers:
            try:
                storage.insert_candidates(records)
                assert not refused
            except CandidateError:
                assert refused
        if not refused:
            self.stored.update((record.id, record) for record in records)

    @rule(records=BATCHES)
    def upsert(self, records: list[CandidateRecord]) -> None:
        for storage in self.writers:
            storage.upsert_candidates(records)
        self.stored.update((record.id, record) for record in records)

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids: list[str]) -> None:
        present = {each for each in ids if each in self.stored}
        for storage in self.writers:
            assert storage.delete_candidates(ids) == len(present)
        for each in present:
            del self.stored[each]

    @rule(decision=st.sampled_from("pq"), id=IDS, score=st.sampled_from([0.0, 0.5, 1.0]))
    def feedback(self, decision: str, id: str, score: float) -> None:
        for storage in self.writers:
            storage.record_feedback(Feedback(decision, score, id, time=1.0))
        before = self.scores.get((decision, id))
        self.scores[decision, id] = score
        if id in self.stored:
            record = self.stored[id]
            trials = record.trial_count + (before is None)
            successes = min(max(record.success_count + score - (before or 0.0), 0.0), trials)
            self.stored[id] = replace(record, trial_count=trials, success_count=successes)

    @rule(query=EMBEDDINGS, k=st.integers(1, 4))
    def touch(self, query: tuple[int, ...], k: int) -> None:
        for storage in self.writers:
            found = storage.query_candidates(np.array(query, np.float32), k)
            storage.flush()
        for each in found:
            record = self.stored[each.candidate.id]
            self.stored[record.id] = replace(record, access_count=record.access_count + 1)

    @rule(error=st.sampled_from([ZeroDivisionError(), MemoryError(), KeyboardInterrupt(), apsw.FullError("full")]))
    def fail(self, error: BaseException) -> None:
        """Something goes wrong in the middle of a write: it has not happened."""

        def action(connection: apsw.Connection) -> None:
            connection.execute("DELETE FROM candidate")
            raise error

        sqlite = self.writers[1]
        assert isinstance(sqlite, SqliteStorage)
        with pytest.raises(StorageError if isinstance(error, apsw.Error) else type(error)):
            sqlite._writer.submit(action)

    @rule()
    def vacuum(self) -> None:
        for storage in self.writers:
            storage.vacuum()

    @rule(
        query=EMBEDDINGS,
        k=st.integers(1, 7),
        filter=FILTERS,
        max_distance=st.none() | st.sampled_from([0.0, 0.5, 1.0]),
    )
    def search(self, query: tuple[int, ...], k: int, filter: Filter | None, max_distance: float | None) -> None:
        direction = np.array(query, np.float32)
        answers = [
            storage.query_candidates(direction, k, filter=filter, max_distance=max_distance, touch=False)
            for storage in self.readers
        ]
        first = [(each.candidate.id, each.distance) for each in answers[0]]
        for answer in answers[1:]:
            assert [(each.candidate.id, each.distance) for each in answer] == first
            assert [plain(each.candidate) for each in answer] == [plain(each.candidate) for each in answers[0]]
        expected = {
            id: 1
            - np.dot(record.embedding, direction) / np.linalg.norm(record.embedding) / np.linalg.norm(direction)
            for id, record in self.stored.items()
            if record.embedding is not None and (filter is None or passes(filter, record))
        }
        near = [id for id in expected if max_distance is None or expected[id] <= max_distance + 1e-6]
        assert len(first) <= min(k, len(near))
        for id, distance in first:
            assert abs(distance - expected[id]) < 1e-5
        if max_distance is None:
            assert len(first) == min(k, len(expected))
            if first:
                worst = max(distance for _, distance in first if distance is not None)
                assert sum(distance < worst - 1e-5 for distance in expected.values()) < k

    @invariant()
    def the_same_is_stored(self) -> None:
        for storage in self.readers if hasattr(self, "readers") else ():
            found = storage.get_candidates()
            assert [plain(each) for each in found] == [plain(self.stored[id]) for id in sorted(self.stored)]


def terms(metadata: Mapping[str, Any]) -> dict[str, set[str]]:
    """By key, the texts any of which a filter may want; keys of what lies within have a point between."""
    found: dict[str, set[str]] = {}
    for key, value in metadata.items():
        if isinstance(value, dict):
            for inner, texts in terms(value).items():
                found.setdefault(f"{key}.{inner}", set()).update(texts)
                found.setdefault(key, set())
        else:
            listed = value if isinstance(value, list) else [value]
            texts = {metadata_text("value", each, error=OptionError) for each in listed if each is not None}
            if texts:
                found.setdefault(key, set()).update(texts)
    return found


def passes(filter: Filter, record: CandidateRecord) -> bool:
    """Whether a candidate may be returned."""
    found, rate = terms(record.metadata), record.success_rate
    return bool(
        all(value in found.get(key, ()) for key, value in filter.equals.items())
        and all(found.get(key, set()) & set(values) for key, values in filter.any_of.items())
        and all(key in found for key in filter.has)
        and (filter.ids is None or record.id in filter.ids)
        and (filter.groups is None or record.group in filter.groups)
        and (filter.created_from is None or record.created_at >= filter.created_from)
        and (filter.created_before is None or record.created_at < filter.created_before)
        and (filter.min_success_rate is None or (rate is not None and rate >= filter.min_success_rate))
        and record.trial_count >= filter.min_trials
        and (
            filter.min_confidence is None
            # Compared in single precision.
            or (
                record.confidence is not None
                and np.float32(record.confidence) >= np.float32(filter.min_confidence)
            )
        )
    )


def plain(record: CandidateRecord) -> dict[str, Any]:
    """What can be compared; the time of the last access is the clock's."""
    return {
        "id": record.id,
        "embedding": None if record.embedding is None else record.embedding.tolist(),
        "created_at": record.created_at,
        "access_count": record.access_count,
        "success_count": record.success_count,
        "trial_count": record.trial_count,
        "confidence": record.confidence,
        "metadata": msgspec.json.encode(record.metadata),
        "group": record.group,
    }


class PostgresMachine(StorageMachine):
    """The same over PostgreSQL."""

    def opened(self, *, mirror: bool = True) -> Storage:
        if not hasattr(self, "address"):
            self.address = emptied()
        return open_storage(self.address, mirror=mirror)

    @rule(error=st.sampled_from([ZeroDivisionError(), MemoryError(), KeyboardInterrupt()]))
    def fail(self, error: BaseException) -> None:
        def action(connection: psycopg.Connection[Any]) -> None:
            connection.execute("DELETE FROM tiny_dancer.candidate")
            raise error

        postgres: Any = self.writers[1]
        with pytest.raises(StorageError if isinstance(error, MemoryError) else type(error)):
            postgres._database.write(action)


PostgresMachine.TestCase.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
TestPostgresMachine = PostgresMachine.TestCase
StorageMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestStorageMachine = StorageMachine.TestCase
