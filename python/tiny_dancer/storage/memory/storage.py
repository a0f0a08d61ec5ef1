"""Storage in this process's memory: for tests, and for agents whose memory may end with them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from tiny_dancer.errors import AccessError, CandidateError, OptionError, StorageError
from tiny_dancer.storage import values
from tiny_dancer.storage.candidate_checks import check_candidates, check_query
from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord, check_history, check_record
from tiny_dancer.storage.keys import ApiKey
from tiny_dancer.storage.ledger import check_request_history, check_requests, check_span, check_summary
from tiny_dancer.storage.memory.ledger import RequestRows
from tiny_dancer.storage.memory.rows import newest, retain, within
from tiny_dancer.storage.metadata import decoded, encoded
from tiny_dancer.storage.mirror import Mirror
from tiny_dancer.storage.statistics import summarise
from tiny_dancer.storage.storage import RowCounts, retention_limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import NoReturn

    import numpy.typing as npt

    from tiny_dancer.storage.candidates import CandidateRecord, Filter, Neighbour
    from tiny_dancer.storage.history import HistoryQuery, Statistics
    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.ledger import RequestSummary, SummaryBy
    from tiny_dancer.types import RequestRecord

    Row = TypeVar("Row", RoutingRecord, Feedback, Outcome)


class MemoryStorage:
    """The :class:`~tiny_dancer.storage.Storage` protocol over dictionaries. Nothing outlives the object."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._candidates: dict[str, CandidateRecord] = {}
        self._mirror = Mirror()
        self._dimension: int | None = None
        self._routing: dict[str, RoutingRecord] = {}
        self._feedback: dict[tuple[str, str | None], Feedback] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self._requests = RequestRows()
        self._keys: dict[str, ApiKey] = {}

    def insert_candidate(self, record: CandidateRecord) -> None:
        """Adds one candidate."""
        self.insert_candidates([record])

    def insert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, all or none."""
        self._write(records, replacing=False)

    def upsert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, replacing those of the same ids."""
        self._write(records, replacing=True)

    def _write(self, records: Iterable[CandidateRecord], *, replacing: bool) -> None:
        checked, dimension = check_candidates(records)
        with self._open_lock():
            for record in checked:
                if not replacing and record.id in self._candidates:
                    raise CandidateError("id", record.id, "it is stored already: upsert to replace it")
            self._check_dimension(dimension)
            self._mirror.drop(record.id for record in checked)
            self._put(checked)

    def _check_dimension(self, dimension: int | None) -> None:
        if dimension is None:
            return
        if self._dimension is None:
            self._dimension = dimension
        if dimension != self._dimension:
            raise CandidateError(
                "embedding",
                f"dimension {dimension}",
                f"the stored candidates have {self._dimension}: use their encoder",
            )

    def _put(self, records: Sequence[CandidateRecord]) -> None:
        """Stores records, and those with an embedding in the mirror too."""
        self._candidates.update((record.id, record) for record in records)
        embedded = [record for record in records if record.embedding is not None]
        if embedded:
            matrix = np.stack([record.embedding for record in embedded if record.embedding is not None])
            self._mirror.put(embedded, matrix)

    def delete_candidates(self, ids: Iterable[str]) -> int:
        """Removes candidates; returns how many there were."""
        listed = values.texts("ids", ids)
        with self._open_lock():
            present = [each for each in dict.fromkeys(listed) if self._candidates.pop(each, None) is not None]
            self._mirror.drop(present)
            return len(present)

    def get_candidates(
        self, ids: Iterable[str] | None = None, *, filter: Filter | None = None
    ) -> tuple[CandidateRecord, ...]:
        """Candidates with their embeddings, in the order of ``ids``, or all by id."""
        named = None if ids is None else values.texts("ids", ids)
        with self._open_lock():
            names = sorted(self._candidates) if named is None else dict.fromkeys(named)
            found = [self._candidates[each] for each in names if each in self._candidates]
            return tuple(_owned(record) for record in found if filter is None or filter.passes(record))

    def query_candidates(
        self,
        query_embedding: npt.ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        max_distance: float | None = None,
        touch: bool = True,
        embeddings: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The nearest candidates by cosine, exactly."""
        query, k, max_distance = check_query(query_embedding, k, max_distance)
        with self._open_lock():
            found = self._mirror.nearest(query, k, filter=filter, max_distance=max_distance)
            if touch:
                self._touch([each.candidate.id for each in found], time.time())
            if embeddings:
                return tuple(replace(each, candidate=self._with_embedding(each.candidate)) for each in found)
            return found

    def _with_embedding(self, record: CandidateRecord) -> CandidateRecord:
        embedding = self._candidates[record.id].embedding
        assert embedding is not None  # the mirror holds no others
        return replace(record, embedding=embedding.copy())

    def _touch(self, ids: list[str], now: float) -> None:
        touched = []
        for each in ids:
            record = self._candidates[each]
            last = max(now, record.last_accessed_at or 0.0)
            touched.append(replace(record, access_count=record.access_count + 1, last_accessed_at=last))
        self._replace(touched)

    def _replace(self, records: list[CandidateRecord]) -> None:
        """Stores what changed about candidates, their embeddings aside."""
        self._candidates.update((record.id, record) for record in records)
        self._mirror.put([record for record in records if record.embedding is not None])

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision; never drops one."""
        del wait
        check_record("record", record, RoutingRecord)
        with self._open_lock():
            self._routing.setdefault(record.decision_id, record)
        return True

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback, and counts it for its candidate."""
        check_record("feedback", feedback, Feedback)
        with self._open_lock():
            key = (feedback.decision_id, feedback.candidate_id)
            before = self._feedback.pop(key, None)
            self._feedback[key] = feedback
            record = self._candidates.get(feedback.candidate_id or "")
            if record is None:
                return
            trials = record.trial_count + (before is None)
            successes = record.success_count + feedback.score - (before.score if before else 0.0)
            # A candidate replaced since the first feedback has other counts: they stay a possible pair.
            bounded = min(max(successes, 0.0), float(trials))
            self._replace([replace(record, trial_count=trials, success_count=bounded)])

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        check_record("outcome", outcome, Outcome)
        with self._open_lock():
            key = (outcome.decision_id, outcome.model)
            self._outcomes.pop(key, None)
            self._outcomes[key] = outcome

    def flush(self) -> None:
        """Nothing waits to be written."""
        self._open_lock()

    def routing_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        kind: str | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RoutingRecord, ...]:
        """Decisions with ``since <= time < until``, newest first."""
        return self._history(self._routing, check_history(since, until, decision_ids, limit, kind))

    def feedback_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Feedback, ...]:
        """Feedback with ``since <= time < until``, newest first."""
        return self._history(self._feedback, check_history(since, until, decision_ids, limit))

    def outcome_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Outcome, ...]:
        """Outcomes with ``since <= time < until``, newest first."""
        return self._history(self._outcomes, check_history(since, until, decision_ids, limit))

    def _history(self, rows: dict[Any, Row], query: HistoryQuery) -> tuple[Row, ...]:
        wanted = None if query.decision_ids is None else set(query.decision_ids)

        def passes(row: Row) -> bool:
            of_kind = query.kind is None or getattr(row, "kind", None) == query.kind
            return of_kind and (wanted is None or row.decision_id in wanted)

        with self._open_lock():
            return newest(rows, query.since, query.until, passes, query.limit)

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway."""
        rows = check_requests(records)
        with self._open_lock():
            self._requests.add(rows)

    def request_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_id: str | None = None,
        response_id: str | None = None,
        request_id: str | None = None,
        key: str | None = None,
        limit: int | None = 10_000,
    ) -> tuple[RequestRecord, ...]:
        """Requests with ``since <= time < until`` and the ids given, newest first."""
        fields = {"decision_id": decision_id, "response_id": response_id, "id": request_id, "key": key}
        query = check_request_history(since, until, fields, limit)
        with self._open_lock():
            return self._requests.history(query)

    def spend(self, *, since: float, until: float | None = None) -> dict[str, Spend]:
        """What each key has used in a span of time."""
        since, until = check_span(since, until)
        with self._open_lock():
            return self._requests.spend(since, until)

    def request_summary(
        self, *, by: SummaryBy, since: float | None = None, until: float | None = None
    ) -> tuple[RequestSummary, ...]:
        """Requests summed up, in the order of the groups."""
        by, since, until = check_summary(by, since, until)
        with self._open_lock():
            scores = {
                decision: each.score for (decision, candidate), each in self._feedback.items() if candidate is None
            }
            return self._requests.summary(by, since, until, scores)

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway."""
        check_record("key", key, ApiKey)
        with self._open_lock():
            for stored in self._keys.values():
                if key.id == stored.id or key.secret_hash == stored.secret_hash:
                    field = "id" if key.id == stored.id else "secret_hash"
                    raise AccessError(field, key.id, "it is stored already: make another key")
            self._keys[key.id] = key

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, the oldest first."""
        with self._open_lock():
            return tuple(sorted(self._keys.values(), key=lambda key: (key.created_at, key.id)))

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key; false where there is none, or it was revoked before."""
        name = values.stored_text("id", id, empty=True, error=OptionError)
        moment = values.utc_seconds("at", at, error=OptionError)
        with self._open_lock():
            key = self._keys.get(name)
            if key is None or key.revoked_at is not None:
                return False
            self._keys[name] = replace(key, revoked_at=moment)
            return True

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of a span of time."""
        since, until = values.span(since, until)
        with self._open_lock():
            return summarise(
                len(self._candidates),
                [row for row in self._routing.values() if within(row, since, until)],
                [row for row in self._feedback.values() if within(row, since, until)],
                [row for row in self._outcomes.values() if within(row, since, until)],
                self._requests.count(since, until),
            )

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history that is older, or beyond the newest rows."""
        oldest, most = retention_limits(max_age_s, max_rows, now)
        with self._open_lock():
            return RowCounts(
                0,
                retain(self._routing, oldest, most),
                retain(self._outcomes, oldest, most),
                retain(self._feedback, oldest, most),
                self._requests.retain(oldest, most),
            )

    def backup(self, path: str | Path) -> NoReturn:
        """Refused: memory has no file form.

        Raises:
            StorageError: always.
        """
        raise StorageError("backup", path, "storage in memory has no file: use SqliteStorage")

    def restore(self, path: str | Path) -> NoReturn:
        """Refused, as :meth:`backup`.

        Raises:
            StorageError: always.
        """
        raise StorageError("restore", path, "storage in memory has no file: use SqliteStorage")

    def vacuum(self) -> None:
        """Nothing to give back."""
        self._open_lock()

    def verify(self) -> RowCounts:
        """How many rows there are."""
        with self._open_lock():
            rows = (self._candidates, self._routing, self._outcomes, self._feedback, self._requests, self._keys)
            return RowCounts(*[len(each) for each in rows])

    def close(self) -> None:
        """Refuses all further calls."""
        with self._lock:
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open_lock(self) -> threading.RLock:
        if self._closed:
            raise StorageError("storage", "closed", "open it again")
        return self._lock


def _owned(record: CandidateRecord) -> CandidateRecord:
    """A copy that shares nothing its former owner may change."""
    embedding = None if record.embedding is None else record.embedding.copy()
    return replace(record, embedding=embedding, metadata=decoded(encoded(record.metadata)))
