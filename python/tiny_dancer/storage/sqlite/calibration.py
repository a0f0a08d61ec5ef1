"""The statements about what was expected of requests and came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.storage.calibration import BINS, Calibration, calibration
from tiny_dancer.storage.sqlite.conditions import of_time

if TYPE_CHECKING:
    import apsw


def _bin(value: str) -> str:
    # Truncation is the floor where nothing is below 0; max and min see to the rest.
    return f"min(max(CAST({value} * {BINS} AS INTEGER), 0), {BINS - 1})"


def request_calibration(connection: apsw.Connection, since: float | None, until: float | None) -> Calibration:
    """Requests of a span, by expected quality and by confidence."""
    condition, values = of_time(since, until, "request.time")
    # From the feedback on, which few requests have. A score that is NaN is null in JSON.
    expected = connection.execute(
        f"SELECT {_bin('expected.value')}, count(*), avg(expected.value), avg(feedback.score) "
        "FROM request JOIN feedback ON feedback.decision_id = coalesce(request.decision_id, request.id) "
        "AND feedback.candidate_id = '' "
        "JOIN json_each(request.scores) AS expected ON expected.key = request.model "
        f"WHERE {condition} AND request.scores IS NOT NULL AND expected.value IS NOT NULL GROUP BY 1",
        values,
    )
    bins = list(expected)
    confidence = connection.execute(
        f"SELECT {_bin('request.confidence')}, count(*) FROM request "
        f"WHERE {condition} AND request.confidence IS NOT NULL GROUP BY 1",
        values,
    )
    return calibration(bins, list(confidence))
