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
    KEPT,
    PERCENTS,
    SUMS,
    Percentiles,
    RequestSummary,
    Sums,
    add_removed,
    nearest_rank,
    summaries,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from tiny_dancer.storage.sqlite.conditions import Values
    from tiny_dancer.storage.summaries import SummaryQuery, Value

# Whole seconds first: divided as a float, the last moment of a day may round to the next.
_VALUES = {
    **{name: f"request.{field}" for name, field in DIMENSIONS.items()},
    "day": f"CAST(request.time AS INTEGER) / {DAY}",
    "hour": f"CAST(request.time AS INTEGER) / {HOUR}",
    "tag": "tag.value",
}
# Of a request without tags one empty text.
_TAGS = "json_each(iif(request.tags = '[]', '[\"\"]', request.tags))"
# Each tag of a request once, however often it is there.
_BY_TAG = (
    f" JOIN {_TAGS} AS tag ON NOT EXISTS "
    f"(SELECT 1 FROM {_TAGS} AS earlier WHERE earlier.value = tag.value AND earlier.key < tag.key)"
)
_BOTH = "(cost IS NOT NULL AND baseline_cost IS NOT NULL)"
_SERVED = "(model <> '' AND (status < 400 OR status = 499))"
# By the names of SUMS.
_SUMS = {
    "requests": "count(*)",
    "errors": "total(status >= 400 OR error <> '')",
    "fallbacks": "total(fallbacks > 0)",
    "cost": f"total(iif({_BOTH}, cost, 0))",
    "baseline_cost": f"total(iif({_BOTH}, baseline_cost, 0))",
    "compared": f"total({_BOTH})",
    "other_cost": "total(iif(baseline_cost IS NULL, cost, 0))",
    "unpriced": f"total({_SERVED} AND NOT {_BOTH})",
    "uncosted": f"total({_SERVED} AND cost IS NULL)",
    "timed": "count(ttft)",
    "decided": "count(confidence)",
    "feedback": "count(feedback.score)",
    "score": "total(feedback.score)",
    "guarded": "total(guarantee = 'yes')",
}
_SUMMED = ", ".join(_SUMS.get(name, f"total({name})") for name in SUMS)
# Feedback about a request that was not routed is kept under the request's own id.
_FEEDBACK = (
    " LEFT JOIN feedback ON feedback.decision_id = coalesce(request.decision_id, request.id) "
    "AND feedback.candidate_id = ''"
)


_KEPT = {name: _VALUES[name] for name in KEPT}
_SET = ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)


def keep_sums(connection: apsw.Connection, rows: str, bound: Sequence[float]) -> None:
    """Adds up what requests came to that are about to be removed; ``rows``: a condition they meet."""
    connection.execute(
        f"INSERT INTO request_sums ({', '.join(_KEPT)}, first, last, {', '.join(SUMS)}) "
        f"SELECT {', '.join(_KEPT.values())}, min(request.time), max(request.time), {_SUMMED} "
        f"FROM request{_FEEDBACK} WHERE {rows} GROUP BY {', '.join(_KEPT.values())} "
        f"ON CONFLICT ({', '.join(_KEPT)}) DO UPDATE SET first = min(first, excluded.first), "
        f"last = max(last, excluded.last), {_SET}",
        bound,
    )


def request_summary(connection: apsw.Connection, query: SummaryQuery) -> tuple[RequestSummary, ...]:
    """Sums by group, in its order."""
    condition, bound = _condition(query)
    size = len(query.by)
    listed = "".join(f"{_VALUES[name]}, " for name in query.by)
    grouped = ", ".join(str(place + 1) for place in range(size))
    # Without dimensions there is one group, or none where there are no requests.
    ends = f" GROUP BY {grouped}" if grouped else " HAVING count(*) > 0"
    with snapshot(connection):
        rows = connection.execute(
            f"SELECT {listed}{_SUMMED} FROM request{_joined(query)}{_FEEDBACK} WHERE {condition}{ends}", bound
        )
        groups = {row[:size]: Sums(list(row[size:])) for row in rows}
        _add_removed(connection, query, groups)
        latencies = _percentiles(connection, query, "latency", condition, bound)
        first_bytes = _percentiles(connection, query, "ttft", condition, bound)
    return summaries(query, groups, latencies, first_bytes)


def _add_removed(connection: apsw.Connection, query: SummaryQuery, groups: dict[tuple[Value, ...], Sums]) -> None:
    after, bound = of_time(query.since, None, "last")
    before, ends = of_time(None, query.until, "first")
    condition = f"{after} AND {before}"
    bound += ends
    for name, wanted in query.kept_where.items():
        condition += f" AND ({name} IN (SELECT value FROM json_each(?)) OR {name} IS NULL)"
        bound.append(msgspec.json.encode(wanted).decode())
    within, limits = of_time(query.since, None, "first")
    until, later = of_time(None, query.until, "last")
    known = "FALSE" if query.asks_more else f"errors IS NOT NULL AND {within} AND {until}"
    listed = "".join(f"{name if name in KEPT else 'NULL'}, " for name in query.by)
    totals = ", ".join(f"total({name})" for name in SUMS)
    places = ", ".join(str(place + 1) for place in range(len(query.by) + 1))
    rows = connection.execute(
        f"SELECT {known}, {listed}{totals} FROM request_sums WHERE {condition} GROUP BY {places}",
        (*([] if query.asks_more else [*limits, *later]), *bound),
    )
    add_removed(query, groups, rows)


def _joined(query: SummaryQuery) -> str:
    return _BY_TAG if "tag" in query.by else ""


def _condition(query: SummaryQuery) -> tuple[str, Values]:
    condition, bound = of_time(query.since, query.until, "request.time")
    for name, wanted in query.where.items():
        among = "IN (SELECT value FROM json_each(?))"
        if name == "tag":
            condition += f" AND EXISTS (SELECT 1 FROM {_TAGS} AS wanted WHERE wanted.value {among})"
        else:
            condition += f" AND {_VALUES[name]} {among}"
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
        f"count(*) OVER ({parts}) AS size FROM (SELECT {columns}request.{column} AS value "
        f"FROM request{_joined(query)} WHERE {condition} AND request.{column} IS NOT NULL)) "
        f"WHERE place IN ({places})",
        bound,
    )
    found: dict[tuple[Any, ...], dict[int, float]] = {}
    sizes: dict[tuple[Any, ...], int] = {}
    for *group, value, place, size in rows:
        found.setdefault(tuple(group), {})[place - 1] = value
        sizes[tuple(group)] = size
    return {
        group: Percentiles(*[ranked[nearest_rank(sizes[group], percent)] for percent in PERCENTS])
        for group, ranked in found.items()
    }
