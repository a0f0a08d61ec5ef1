"""What was expected of requests in memory, and what came of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tiny_dancer.storage.calibration import Calibration, bin_of, calibration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tiny_dancer.types import RequestRecord


def calibrated(rows: Iterable[RequestRecord], scores: Mapping[str, float]) -> Calibration:
    """Rows by expected quality and by confidence; ``scores``: of the feedback, by decision."""
    told: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    confidence: Counter[int] = Counter()
    for row in rows:
        if row.confidence is not None:
            confidence[bin_of(row.confidence)] += 1
        expected = (row.scores or {}).get(row.model, math.nan)
        score = scores.get(row.id if row.decision_id is None else row.decision_id)
        if score is not None and not math.isnan(expected):
            told[bin_of(expected)].append((expected, score))
    return calibration(
        (
            (
                place,
                len(pairs),
                math.fsum(e for e, _ in pairs) / len(pairs),
                math.fsum(s for _, s in pairs) / len(pairs),
            )
            for place, pairs in told.items()
        ),
        confidence.items(),
    )
