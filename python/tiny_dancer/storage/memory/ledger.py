"""A gateway's requests in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.storage.ledger import by_key, days_and_parts, fitting
from tiny_dancer.storage.memory.rows import newest, retain, within
from tiny_dancer.storage.memory.summaries import Removed, request_summary
from tiny_dancer.storage.summaries import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.ledger import RequestQuery
    from tiny_dancer.storage.summaries import RequestSummary, SummaryQuery
    from tiny_dancer.types import RequestRecord


class RequestRows:
    """Requests in memory. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[float, str], RequestRecord] = {}
        self._spend: dict[tuple[int, str, str], tuple[float, int, int]] = {}
        self._removed = Removed()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, records: Sequence[RequestRecord]) -> list[RequestRecord]:
        """Adds requests; of one id and time the first stays. Those that are new."""
        new = []
        for record in map(fitting, records):
            if self._rows.setdefault((record.time, record.id), record) is record:
                new.append(record)
                day = (int(record.time // DAY), record.key, record.model)
                cost, tokens, requests = self._spend.get(day, (0.0, 0, 0))
                used = record.input_tokens + record.output_tokens
                self._spend[day] = (cost + (record.cost or 0.0), tokens + used, requests + 1)
        return new

    def history(self, query: RequestQuery) -> tuple[RequestRecord, ...]:
        """Requests, newest first."""
        return newest(
            self._rows,
            query.since,
            query.until,
            lambda row: all(getattr(row, field) == text for field, text in query.wanted.items()),
            query.limit,
        )

    def count(self, since: float | None, until: float | None) -> int:
        """Requests of a span of time."""
        return sum(within(row, since, until) for row in self._rows.values())

    def spend(self, since: float, until: float | None) -> dict[str, Spend]:
        """What each key has used: whole days from their sums, the rest of first and last from their requests."""
        (first, last), parts = days_and_parts(since, until)
        rows = [(key, model, *sums) for (day, key, model), sums in self._spend.items() if first <= day < last]
        rows += [
            (row.key, row.model, row.cost or 0.0, row.input_tokens + row.output_tokens, 1)
            for row in self._rows.values()
            if any(start <= row.time < end for start, end in parts)
        ]
        return by_key(rows)

    def summary(self, query: SummaryQuery, scores: Mapping[str, float]) -> tuple[RequestSummary, ...]:
        """Sums by group, in its order; ``scores``: of the feedback, by decision."""
        return request_summary(self._rows.values(), self._removed, query, scores)

    def retain(self, oldest: float | None, most: int | None, scores: Mapping[str, float]) -> int:
        """Removes rows before ``oldest`` and those beyond the ``most`` newest; returns how many."""
        gone = retain(self._rows, oldest, most)
        self._removed.add(gone, scores)
        return len(gone)
