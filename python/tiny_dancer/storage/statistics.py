"""Figures of a history: how each is reckoned, in every backend."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from tiny_dancer.storage.history import Statistics
from tiny_dancer.storage.summaries import nearest_rank

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.storage.history import Feedback, Outcome, RoutingRecord

PERCENTILES = (50, 90, 99)


def summarise(
    candidates: int,
    routing: Sequence[RoutingRecord],
    feedback: Sequence[Feedback],
    outcomes: Sequence[Outcome],
    requests: int,
) -> Statistics:
    """Figures of the rows given."""
    latencies = sorted(row.latency_us for row in routing if row.latency_us is not None)
    p50, p90, p99 = (
        latencies[nearest_rank(len(latencies), percent)] if latencies else None for percent in PERCENTILES
    )
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


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
