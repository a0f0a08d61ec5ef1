"""A gateway's requests in memory."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tiny_dancer.storage.ledger import DAY, RequestSummary, by_key, days_and_parts, fitting
from tiny_dancer.storage.memory.rows import newest, retain, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.ledger import RequestQuery, SummaryBy
    from tiny_dancer.types import RequestRecord


class RequestRows:
    """Requests in memory. Not safe to use from several threads at once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[float, str], RequestRecord] = {}
        self._spend: dict[tuple[int, str, str], tuple[float, int, int]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Adds requests; of one id and time the first stays."""
        for record in map(fitting, records):
            if self._rows.setdefault((record.time, record.id), record) is record:
                day = (int(record.time // DAY), record.key, record.model)
                cost, tokens, requests = self._spend.get(day, (0.0, 0, 0))
                used = record.input_tokens + record.output_tokens
                self._spend[day] = (cost + (record.cost or 0.0), tokens + used, requests + 1)

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

    def summary(
        self,
        by: SummaryBy,
        since: float | None,
        until: float | None,
        scores: Mapping[str, float],
    ) -> tuple[RequestSummary, ...]:
        """Sums by group, in its order; ``scores``: of the feedback, by decision."""
        groups: defaultdict[str, list[RequestRecord]] = defaultdict(list)
        for row in self._rows.values():
            if within(row, since, until):
                groups[_group(row, by)].append(row)
        return tuple(_summed(group, groups[group], scores) for group in sorted(groups))

    def retain(self, oldest: float | None, most: int | None) -> int:
        """Removes rows before ``oldest`` and those beyond the ``most`` newest; returns how many."""
        return retain(self._rows, oldest, most)


def _group(record: RequestRecord, by: SummaryBy) -> str:
    if by == "day":
        return datetime.fromtimestamp(record.time, UTC).strftime("%Y-%m-%d")
    if by == "route":
        return f"{record.router}/{record.routed_by}" if record.router else record.routed_by
    if by == "all":
        return ""
    return record.model if by == "model" else record.key


def _summed(group: str, rows: Sequence[RequestRecord], scores: Mapping[str, float]) -> RequestSummary:
    costs = [(row.cost, row.baseline_cost) for row in rows if row.cost is not None]
    both = [(cost, baseline) for cost, baseline in costs if baseline is not None]
    served = [row for row in rows if row.model and (row.status < 400 or row.status == 499)]
    first_bytes = [row.ttft for row in rows if row.ttft is not None]
    told = [scores[id] for row in rows if (id := row.id if row.decision_id is None else row.decision_id) in scores]
    return RequestSummary(
        group=group,
        requests=len(rows),
        errors=sum(row.status >= 400 or row.error != "" for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cached_tokens=sum(row.cached_tokens for row in rows),
        cost=math.fsum(cost for cost, _ in both),
        baseline_cost=math.fsum(baseline for _, baseline in both),
        compared=len(both),
        other_cost=math.fsum(cost for cost, baseline in costs if baseline is None),
        guessed=sum(row.guessed for row in rows),
        guessed_cost=math.fsum(row.guessed_cost for row in rows),
        unpriced=sum(row.cost is None or row.baseline_cost is None for row in served),
        latency=math.fsum(row.latency for row in rows) / len(rows),
        ttft=math.fsum(first_bytes) / len(first_bytes) if first_bytes else None,
        feedback=len(told),
        score=math.fsum(told) / len(told) if told else None,
    )
