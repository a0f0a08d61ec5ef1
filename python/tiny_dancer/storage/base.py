"""The storage protocol: what every backend does, and what its callers may rely on.

Acknowledged means durable: when insert, upsert, delete, feedback or outcome returns, the write survives the end of
the process, and in a file also a loss of power. Routing records are the exception, for they must not hold up a
decision: ``record_routing`` returns at once, and ``flush`` returns when all before it are durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    import numpy.typing as npt

    from tiny_dancer.storage.filters import Filter
    from tiny_dancer.storage.records import (
        CandidateRecord,
        Feedback,
        Neighbour,
        Outcome,
        RoutingRecord,
        RowCounts,
        Statistics,
    )
    from tiny_dancer.storage.records_gateway import ApiKey, RequestSummary, Spend, SummaryBy
    from tiny_dancer.types import RequestRecord


class Storage(Protocol):
    """Candidates, decisions, outcomes, feedback, a gateway's requests and keys. Safe to use from many threads.

    Every method raises :class:`~tiny_dancer.errors.StorageError` where the database cannot be read or written.
    """

    def insert_candidate(self, record: CandidateRecord) -> None:
        """Adds one candidate; as :meth:`insert_candidates`."""
        ...

    def insert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, all or none.

        Raises:
            CandidateError: an id is stored already or given twice, a field cannot be stored, or an embedding has
                another dimension than those stored.
        """
        ...

    def upsert_candidates(self, records: Iterable[CandidateRecord]) -> None:
        """Adds candidates, replacing those of the same ids as a whole (their counts too), all or none.

        Raises:
            CandidateError: a field cannot be stored, an id is given twice, or an embedding has another dimension
                than those stored.
        """
        ...

    def delete_candidates(self, ids: Iterable[str]) -> int:
        """Removes candidates; returns how many there were. Ids that are not stored are ignored."""
        ...

    def get_candidates(
        self, ids: Iterable[str] | None = None, *, filter: Filter | None = None
    ) -> tuple[CandidateRecord, ...]:
        """Candidates with their embeddings: those of ``ids`` that are stored, in that order, or all by id."""
        ...

    def query_candidates(
        self,
        query_embedding: npt.NDArray[np.float32],
        k: int = 10,
        *,
        filter: Filter | None = None,
        max_distance: float | None = None,
        touch: bool = True,
        embeddings: bool = False,
    ) -> tuple[Neighbour, ...]:
        """The nearest candidates by cosine, exactly; equal distances in the order of their ids.

        Args:
            query_embedding: float32 [dimension], not zero.
            k: most to return; fewer where fewer pass.
            filter: which candidates may be returned.
            max_distance: largest 1 - cosine, in [0, 2].
            touch: count this as an access to those returned. Counted in batches: readable after :meth:`flush`.
            embeddings: return the embeddings too.

        Raises:
            CandidateError: the query is not finite, zero or of another dimension than those stored.
            OptionError: ``k`` or ``max_distance`` outside its range.
        """
        ...

    def record_routing(self, record: RoutingRecord, *, wait: bool = False) -> bool:
        """Remembers a decision.

        Args:
            record: the decision; one of a decision id that is stored already is ignored.
            wait: return only when it is durable, however long the queue.

        Returns:
            Whether it was taken; without ``wait``, a full queue drops it and ``Statistics.dropped`` counts that.
        """
        ...

    def record_feedback(self, feedback: Feedback) -> None:
        """Keeps feedback. About a candidate that is stored, it updates its trials and successes."""
        ...

    def record_outcome(self, outcome: Outcome) -> None:
        """Keeps what a model really scored."""
        ...

    def flush(self) -> None:
        """Returns when all routing records and accesses so far are durable.

        Raises:
            StorageError: some since the last flush could not be written.
        """
        ...

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
        ...

    def feedback_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Feedback, ...]:
        """Feedback with ``since <= time < until``, newest first."""
        ...

    def outcome_history(
        self,
        *,
        since: float | None = None,
        until: float | None = None,
        decision_ids: Iterable[str] | None = None,
        limit: int | None = 10_000,
    ) -> tuple[Outcome, ...]:
        """Outcomes with ``since <= time < until``, newest first."""
        ...

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        """Keeps requests of a gateway, all or none; of one id and time the first stays.

        What cannot be is replaced rather than refused, for it comes from clients and upstreams: NUL and lone
        surrogates by U+FFFD, tokens outside [0, 2**40] by the nearest in it, costs below 0 by 0, numbers that are
        not finite by None, or 0 where there must be one.
        """
        ...

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
        ...

    def spend(self, *, since: float) -> Mapping[str, Spend]:
        """What each key (by id; empty without one) has used since a time; fast from the start of a UTC day on.

        Whole days stay right when :meth:`apply_retention` removes their requests.
        """
        ...

    def request_summary(
        self, *, by: SummaryBy, since: float | None = None, until: float | None = None
    ) -> tuple[RequestSummary, ...]:
        """Requests with ``since <= time < until`` summed up, in the order of the groups.

        Raises:
            OptionError: ``by`` is none of ``day``, ``model``, ``key``, ``route``, ``all``.
        """
        ...

    def insert_api_key(self, key: ApiKey) -> None:
        """Adds a key of the gateway.

        Raises:
            AccessError: its id or its secret is stored already.
        """
        ...

    def api_keys(self) -> tuple[ApiKey, ...]:
        """All keys, ended ones too, the oldest first."""
        ...

    def revoke_api_key(self, id: str, at: float) -> bool:
        """Ends a key at ``at``, UTC seconds; false where there is none, or it was revoked before (that stays)."""
        ...

    def get_statistics(self, *, since: float | None = None, until: float | None = None) -> Statistics:
        """Figures of the decisions, outcomes and feedback with ``since <= time < until``."""
        ...

    def apply_retention(
        self, *, max_age_s: float | None = None, max_rows: int | None = None, now: float | None = None
    ) -> RowCounts:
        """Removes history: decisions, outcomes, feedback and requests that are older or beyond the newest rows.

        Args:
            max_age_s: seconds to keep.
            max_rows: rows to keep of each.
            now: UTC seconds to count the age from; the present by default.

        Returns:
            How many rows were removed; candidates and API keys are never removed.

        Raises:
            OptionError: neither limit is given, or one is negative.
        """
        ...

    def backup(self, path: str | Path) -> RowCounts:
        """Writes a verified copy to a file, while reading and writing go on; returns what it holds."""
        ...

    def restore(self, path: str | Path) -> RowCounts:
        """Replaces everything by a backup, at once for all; what was stored stays where the backup is no good."""
        ...

    def vacuum(self) -> None:
        """Gives back the space of what was removed."""
        ...

    def verify(self) -> RowCounts:
        """Reads everything; raises where it is damaged, else says how many rows there are."""
        ...

    def close(self) -> None:
        """Writes what is queued and lets go; closing again does nothing, other calls raise."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
