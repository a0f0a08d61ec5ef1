"""A gateway's requests in memory, summed up."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

from tiny_dancer.storage.memory.rows import within
from tiny_dancer.storage.summaries import (
    DAY,
    DIMENSIONS,
    HOUR,
    KEPT,
    PERCENTS,
    SUMS,
    Percentiles,
    RequestSummary,
    Sums,
    nearest_rank,
    of_removed,
    summaries,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tiny_dancer.storage.summaries import SummaryQuery, Value
    from tiny_dancer.types import RequestRecord


class Removed:
    """What requests came to that were removed."""

    def __init__(self) -> None:
        # By the dimensions of KEPT: first and last time, sums.
        self._sums: dict[tuple[Value, ...], tuple[float, float, list[float]]] = {}

    def add(self, rows: Iterable[RequestRecord], scores: Mapping[str, float]) -> None:
        """Adds up rows that are gone."""
        groups: defaultdict[tuple[Value, ...], list[RequestRecord]] = defaultdict(list)
        for row in rows:
            groups[tuple(_values(row, name)[0] for name in KEPT)].append(row)
        for group, of_group in groups.items():
            times = [row.time for row in of_group]
            first, last, before = self._sums.get(group, (math.inf, -math.inf, [0.0] * len(SUMS)))
            sums = [old + new for old, new in zip(before, _sums(of_group, scores), strict=True)]
            self._sums[group] = (min(first, *times), max(last, *times), sums)

    def add_to(self, groups: dict[tuple[Value, ...], Sums], query: SummaryQuery) -> None:
        """Adds those that a query asks for."""
        since = -math.inf if query.since is None else query.since
        until = math.inf if query.until is None else query.until
        for values, (first, last, sums) in self._sums.items():
            known = dict(zip(KEPT, values, strict=True))
            if last < since or first >= until or any(known[n] not in each for n, each in query.kept_where.items()):
                continue
            group: tuple[Value, ...] = tuple(known.get(name) for name in query.by)
            if query.asks_more or first < since or last >= until:
                groups.setdefault(group, Sums([0.0] * len(SUMS))).unknown += int(sums[0])
            else:
                of_removed(groups, group, sums)


def request_summary(
    rows: Iterable[RequestRecord], removed: Removed, query: SummaryQuery, scores: Mapping[str, float]
) -> tuple[RequestSummary, ...]:
    """Sums by group, in its order; ``scores``: of the feedback, by decision."""
    found: defaultdict[tuple[Value, ...], list[RequestRecord]] = defaultdict(list)
    for row in rows:
        if within(row, query.since, query.until) and all(
            set(wanted).intersection(_values(row, name)) for name, wanted in query.where.items()
        ):
            for group in product(*(_values(row, name) for name in query.by)):
                found[group].append(row)
    groups = {group: Sums(_sums(of_group, scores)) for group, of_group in found.items()}
    removed.add_to(groups, query)
    latencies: dict[tuple[Value, ...], Percentiles] = {}
    first_bytes: dict[tuple[Value, ...], Percentiles] = {}
    if query.percentiles:
        for group, of_group in found.items():
            latencies[group] = _percentiles([row.latency for row in of_group])
            if timed := [row.ttft for row in of_group if row.ttft is not None]:
                first_bytes[group] = _percentiles(timed)
    return summaries(query, groups, latencies, first_bytes)


def _values(row: RequestRecord, dimension: str) -> tuple[Value, ...]:
    """One, but for tags."""
    if dimension == "tag":
        return tuple(dict.fromkeys(row.tags)) or ("",)
    if dimension == "day":
        return (int(row.time) // DAY,)
    if dimension == "hour":
        return (int(row.time) // HOUR,)
    return (getattr(row, DIMENSIONS[dimension]),)


def _sums(rows: Sequence[RequestRecord], scores: Mapping[str, float]) -> list[float]:
    costs = [(row.cost, row.baseline_cost) for row in rows if row.cost is not None]
    both = [(cost, baseline) for cost, baseline in costs if baseline is not None]
    served = [row for row in rows if row.model and (row.status < 400 or row.status == 499)]
    first_bytes = [row.ttft for row in rows if row.ttft is not None]
    sure = [row.confidence for row in rows if row.confidence is not None]
    told = [scores[id] for row in rows if (id := row.id if row.decision_id is None else row.decision_id) in scores]
    sums: dict[str, float] = {
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
        "uncosted": sum(row.cost is None for row in served),
        "latency": _total(row.latency for row in rows),
        "ttft": _total(first_bytes),
        "timed": len(first_bytes),
        "confidence": _total(sure),
        "decided": len(sure),
        "feedback": len(told),
        "score": _total(told),
        "guarded": sum(row.guarantee == "yes" for row in rows),
    }
    return [sums[name] for name in SUMS]


def _total(values: Iterable[float]) -> float:
    listed = list(values)
    try:
        return math.fsum(listed)
    except OverflowError:
        return sum(listed)


def _percentiles(values: list[float]) -> Percentiles:
    values.sort()
    return Percentiles(*[values[nearest_rank(len(values), percent)] for percent in PERCENTS])
