"""Figures of a history: how each is reckoned, in every backend."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from tiny_dancer.storage.history import Statistics
from tiny_dancer.storage.summaries import nearest_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord

_PERCENTILES = (50, 90, 99)


def summarise(
    candidates: int,
    routing: Sequence[RoutingRecord],
    feedback: Sequence[Feedback],
    outcomes: Sequence[Outcome],
    requests: int,
) -> Statistics:
    """Figures of the rows given."""
    latencies = sorted(row.latency_us for row in routing if row.latency_us is not None)
    p50, p90, p99 = at_percentiles(len(latencies), latencies.__getitem__)
    return Statistics(
        candidates=candidates,
        routes=len(routing),
        by_kind=dict(sorted(Counter(row.kind for row in routing).items())),
        by_level=dict(sorted(Counter(row.level for row in routing).items())),
        light_share=_mean([row.use_lightweight for row in routing]),
        cost=math.fsum(row.cost for row in routing if row.cost is not None),
        baseline_cost=math.fsum(row.baseline_cost for row in routing if row.baseline_cost is not None),
        latency_p50_us=p50,
        latency_p90_us=p90,
        latency_p99_us=p99,
        feedback=len(feedback),
        success_rate=_mean([row.score for row in feedback]),
        outcomes=len(outcomes),
        mean_quality=_mean([row.quality for row in outcomes]),
        dropped=0,
        requests=requests,
    )


def at_percentiles(count: int, at: Callable[[int], float]) -> tuple[float | None, float | None, float | None]:
    """The 50th, 90th and 99th percentile of so many latencies; ``at`` says the one at a place of their order."""
    if not count:
        return None, None, None
    p50, p90, p99 = (at(nearest_rank(count, percent)) for percent in _PERCENTILES)
    return p50, p90, p99


def of_sums(
    candidates: int,
    routing: tuple[int, float | None, float, float],
    latencies: tuple[float | None, float | None, float | None],
    by_kind: dict[str, int],
    by_level: dict[int, int],
    feedback: tuple[int, float | None],
    outcomes: tuple[int, float | None],
    requests: int,
    dropped: int,
) -> Statistics:
    """Figures that a database has summed up.

    Args:
        candidates: how many are stored.
        routing: of the decisions their number, share of the light model, cost and baseline cost.
        latencies: their percentiles, as :func:`at_percentiles` gives them.
        by_kind: how many decisions are of each kind.
        by_level: how many decisions each level made.
        feedback: its number, and its mean score.
        outcomes: their number, and their mean quality.
        requests: how many a gateway served.
        dropped: routing records that were not written.
    """
    routes, light_share, cost, baseline_cost = routing
    p50, p90, p99 = latencies
    return Statistics(
        candidates=candidates,
        routes=routes,
        by_kind=by_kind,
        by_level=by_level,
        light_share=light_share,
        cost=cost,
        baseline_cost=baseline_cost,
        latency_p50_us=p50,
        latency_p90_us=p90,
        latency_p99_us=p99,
        feedback=feedback[0],
        success_rate=feedback[1],
        outcomes=outcomes[0],
        mean_quality=outcomes[1],
        dropped=dropped,
        requests=requests,
    )


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
