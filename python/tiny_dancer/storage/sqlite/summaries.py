"""The statements that sum up a gateway's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage.sqlite.conditions import of_time
from tiny_dancer.storage.sqlite.connection import snapshot
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
    import apsw

    from tiny_dancer.storage.sqlite.conditions import Values
    from tiny_dancer.storage.summaries import SummaryQuery

# Whole seconds first: divided as a float, the last moment of a day may round to the next.
_VALUES = {
    **{name: f"request.{field}" for name, field in DIMENSIONS.items()},
    "day": f"CAST(request.time AS INTEGER) / {DAY}",
    "hour": f"CAST(request.time AS INTEGER) / {HOUR}",
}
_BOTH = "(cost IS NOT NULL AND baseline_cost IS NOT NULL)"
# By the names of SUMS.
_SUMS = {
    "requests": "count(*)",
    "errors": "total(status >= 400 OR error <> '')",
    "fallbacks": "total(fallbacks > 0)",
    "cost": f"total(iif({_BOTH}, cost, 0))",
    "baseline_cost": f"total(iif({_BOTH}, baseline_cost, 0))",
    "compared": f"total({_BOTH})",
    "other_cost": "total(iif(baseline_cost IS NULL, cost, 0))",
    "unpriced": f"total(model <> '' AND (status < 400 OR status = 499) AND NOT {_BOTH})",
    "timed": "count(ttft)",
    "decided": "count(confidence)",
    "feedback": "count(feedback.score)",
    "score": "total(feedback.score)",
}
_SUMMED = ", ".join(_SUMS.get(name, f"total({name})") for name in SUMS)
# Feedback about a request that was not routed is kept under the request's own id.
_FEEDBACK = (
    " LEFT JOIN feedback ON feedback.decision_id = coalesce(request.decision_id, request.id) "
    "AND feedback.candidate_id = ''"
)


def request_summary(connection: apsw.Connection, query: SummaryQuery) -> tuple[RequestSummary, ...]:
    """Sums by group, in its order."""
    condition, bound = _condition(query)
    columns = [_VALUES[name] for name in query.by]
    size = len(columns)
    listed = "".join(f"{column}, " for column in columns)
    grouped = ", ".join(str(place + 1) for place in range(size))
    # Without dimensions there is one group, or none where there are no requests.
    ends = f" GROUP BY {grouped} ORDER BY {grouped}" if grouped else " HAVING count(*) > 0"
    with snapshot(connection):
        rows = list(
            connection.execute(f"SELECT {listed}{_SUMMED} FROM request{_FEEDBACK} WHERE {condition}{ends}", bound)
        )
        latencies = _percentiles(connection, query, "latency", condition, bound)
        first_bytes = _percentiles(connection, query, "ttft", condition, bound)
    return tuple(
        summed(query, row[:size], row[size:], latencies.get(row[:size]), first_bytes.get(row[:size]))
        for row in rows
    )


def _condition(query: SummaryQuery) -> tuple[str, Values]:
    condition, bound = of_time(query.since, query.until, "request.time")
    for name, wanted in query.where.items():
        condition += f" AND {_VALUES[name]} IN (SELECT value FROM json_each(?))"
        bound.append(msgspec.json.encode(wanted).decode())
    return condition, bound


def _percentiles(
    connection: apsw.Connection, query: SummaryQuery, column: str, condition: str, bound: Values
) -> dict[tuple[Any, ...], Percentiles]:
    """By group, of the requests that have a value in the column."""
    if not query.percentiles:
        return {}
    names = [f"group_{place}" for place in range(len(query.by))]
    columns = "".join(f"{_VALUES[name]} AS {alias}, " for name, alias in zip(query.by, names, strict=True))
    parts = f"PARTITION BY {', '.join(names)}" if names else ""
    places = ", ".join(f"({percent} * size + 99) / 100" for percent in PERCENTS)
    rows = connection.execute(
        f"SELECT * FROM (SELECT *, row_number() OVER ({parts} ORDER BY value) AS place, "
        f"count(*) OVER ({parts}) AS size FROM (SELECT {columns}request.{column} AS value FROM request "
        f"WHERE {condition} AND request.{column} IS NOT NULL)) WHERE place IN ({places})",
        bound,
    )
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    sizes: dict[tuple[Any, ...], int] = {}
    for *group, value, place, size in rows:
        found.setdefault(tuple(group), {})[place - 1] = value
        sizes[tuple(group)] = size
    return {
        group: Percentiles(*[values[nearest_rank(sizes[group], percent)] for percent in PERCENTS])
        for group, values in found.items()
    }
