"""The statements about what was expected of requests and came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage.calibration import BINS, Calibration, calibration
from tiny_dancer.storage.postgres.conditions import of_time

if TYPE_CHECKING:
    import psycopg


def _bin(value: str) -> str:
    # First into [0, 1]: what is far outside is beyond every whole number.
    return f"least(floor(least(greatest({value}, 0), 1) * {BINS})::int, {BINS - 1})"


def request_calibration(
    connection: psycopg.Connection[Any], since: float | None, until: float | None
) -> Calibration:
    """Requests of a span, by expected quality and by confidence."""
    condition, values = of_time(since, until, "request.time")
    # A score that is NaN is null in JSON.
    bins = connection.execute(
        f"SELECT {_bin('expected')}, count(*), avg(least(greatest(expected, -1e290), 1e290)), avg(score) FROM ("
        "SELECT (request.scores ->> request.model)::float8 AS expected, feedback.score "
        "FROM tiny_dancer.request JOIN tiny_dancer.feedback "
        "ON feedback.decision_id = coalesce(request.decision_id, request.id) AND feedback.candidate_id = '' "
        f"WHERE {condition} AND request.scores IS NOT NULL) AS expectation WHERE expected IS NOT NULL GROUP BY 1",
        values,
        binary=True,
    ).fetchall()
    confidence = connection.execute(
        f"SELECT {_bin('request.confidence')}, count(*) FROM tiny_dancer.request "
        f"WHERE {condition} AND request.confidence IS NOT NULL GROUP BY 1",
        values,
        binary=True,
    ).fetchall()
    return calibration(bins, confidence)
