"""A gateway's requests in memory, summed up."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from tiny_dancer.storage.memory.rows import within
from tiny_dancer.storage.summaries import (
    DAY,
    DIMENSIONS,
    HOUR,
    PERCENTS,
    SUMS,
    Percentiles,
    RequestSummary,
    nearest_rank,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiny_dancer.storage.summaries import SummaryQuery
    from tiny_dancer.types import RequestRecord


def request_summary(
    rows: Iterable[RequestRecord], query: SummaryQuery, scores: Mapping[str, float]
) -> tuple[RequestSummary, ...]:
    """Sums by group, in its order; ``scores``: of the feedback, by decision."""
    groups: defaultdict[tuple[str | int, ...], list[RequestRecord]] = defaultdict(list)
    for row in rows:
        if within(row, query.since, query.until) and all(
            _value(row, name) in wanted for name, wanted in query.where.items()
        ):
            groups[tuple(_value(row, name) for name in query.by)].append(row)
    found = []
    for group in sorted(groups):
        of_group = groups[group]
        sums = _sums(of_group, scores)
        latencies = first_bytes = None
        if query.percentiles:
            latencies = _percentiles([row.latency for row in of_group])
            first_bytes = _percentiles([row.ttft for row in of_group if row.ttft is not None])
        found.append(summed(query, group, [sums[name] for name in SUMS], latencies, first_bytes))
    return tuple(found)


def _value(row: RequestRecord, dimension: str) -> str | int:
    if dimension == "day":
        return int(row.time) // DAY
    if dimension == "hour":
        return int(row.time) // HOUR
    value: str | int = getattr(row, DIMENSIONS[dimension])
    return value


def _sums(rows: Sequence[RequestRecord], scores: Mapping[str, float]) -> dict[str, float]:
    costs = [(row.cost, row.baseline_cost) for row in rows if row.cost is not None]
    both = [(cost, baseline) for cost, baseline in costs if baseline is not None]
    served = [row for row in rows if row.model and (row.status < 400 or row.status == 499)]
    first_bytes = [row.ttft for row in rows if row.ttft is not None]
    sure = [row.confidence for row in rows if row.confidence is not None]
    told = [scores[id] for row in rows if (id := row.id if row.decision_id is None else row.decision_id) in scores]
    return {
        "requests": len(rows),
        "errors": sum(row.status >= 400 or row.error != "" for row in rows),
        "fallbacks": sum(row.fallbacks > 0 for row in rows),
        "attempts": sum(row.attempts for row in rows),
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
        "cached_tokens": sum(row.cached_tokens for row in rows),
        "cost": _total(cost for cost, _ in both),
        "baseline_cost": _total(baseline for _, baseline in both),
        "compared": len(both),
        "other_cost": _total(cost for cost, baseline in costs if baseline is None),
        "guessed": sum(row.guessed for row in rows),
        "guessed_cost": _total(row.guessed_cost for row in rows),
        "unpriced": sum(row.cost is None or row.baseline_cost is None for row in served),
        "latency": _total(row.latency for row in rows),
        "ttft": _total(first_bytes),
        "timed": len(first_bytes),
        "confidence": _total(sure),
        "decided": len(sure),
        "feedback": len(told),
        "score": _total(told),
    }


def _total(values: Iterable[float]) -> float:
    listed = list(values)
    try:
        return math.fsum(listed)
    except OverflowError:
        return sum(listed)


def _percentiles(values: list[float]) -> Percentiles | None:
    if not values:
        return None
    values.sort()
    return Percentiles(*[values[nearest_rank(len(values), percent)] for percent in PERCENTS])
