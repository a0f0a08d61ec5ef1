"""The statements that sum up a gateway's requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tiny_dancer.storage.postgres.conditions import of_time
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
    from collections.abc import Iterable, Sequence

    import psycopg

    from tiny_dancer.storage.summaries import SummaryQuery, Value

# Of a request without tags one empty text; each tag once, however often it is there.
_TAGS = "CASE WHEN request.tags = '{}' THEN ARRAY['' COLLATE \"C\"] ELSE request.tags END"
_BY_TAG = f" CROSS JOIN LATERAL (SELECT DISTINCT unnest({_TAGS}) AS value) AS tag"
_VALUES = {
    **{name: f'request."{field}"' for name, field in DIMENSIONS.items()},
    # A cast would round.
    "day": f"floor(request.time)::bigint / {DAY}",
    "hour": f"floor(request.time)::bigint / {HOUR}",
    "tag": "tag.value",
}
_WHOLE = frozenset({"day", "hour", "status"})
_BOTH = "(cost IS NOT NULL AND baseline_cost IS NOT NULL)"
_SERVED = "(model <> '' AND (status < 400 OR status = 499))"


def _total(value: str, condition: str = "TRUE") -> str:
    """A sum that is 0 of nothing. PostgreSQL refuses to sum up beyond what a double holds, which no amount that
    means anything comes near."""
    # Of NULL and a number, either function gives the number.
    bounded = f"least(greatest({value}, -1e290), 1e290)"
    return f"coalesce(sum({bounded}) FILTER (WHERE {condition} AND {value} IS NOT NULL), 0)::float8"


def _count(condition: str) -> str:
    return f"count(*) FILTER (WHERE {condition})"


# By the names of SUMS.
_SUMS = {
    "requests": "count(*)",
    "errors": _count("status >= 400 OR error <> ''"),
    "fallbacks": _count("fallbacks > 0"),
    "cost": _total("cost", _BOTH),
    "baseline_cost": _total("baseline_cost", _BOTH),
    "compared": _count(_BOTH),
    "other_cost": _total("cost", "baseline_cost IS NULL"),
    "guessed": _count("guessed"),
    "unpriced": _count(f"{_SERVED} AND NOT {_BOTH}"),
    "uncosted": _count(f"{_SERVED} AND cost IS NULL"),
    "timed": "count(ttft)",
    "decided": "count(confidence)",
    "feedback": "count(feedback.score)",
    "score": _total("feedback.score"),
    "guarded": _count("guarantee = 'yes'"),
}
_SUMMED = ", ".join(_SUMS.get(name, _total(name)) for name in SUMS)
# Feedback about a request that was not routed is kept under the request's own id.
_FEEDBACK = (
    " LEFT JOIN tiny_dancer.feedback ON feedback.decision_id = coalesce(request.decision_id, request.id) "
    "AND feedback.candidate_id = ''"
)


def _hashed(names: Iterable[str]) -> str:
    return f"sha256(convert_to(json_build_array({', '.join(names)})::text, 'UTF8'))"


HASHED_NAMES = _hashed(KEPT)
"""What ``request_sums.names`` is, of a row's columns."""
_KEPT = {name: _VALUES[name] for name in KEPT}
_SET = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in SUMS)
_KEEP = (
    f"INSERT INTO tiny_dancer.request_sums AS kept (names, {', '.join(KEPT)}, first, last, {', '.join(SUMS)}) "
    f"SELECT {_hashed(_KEPT.values())}, "
    f"{', '.join(_KEPT.values())}, min(request.time), max(request.time), {_SUMMED} "
    f"FROM tiny_dancer.request{_FEEDBACK} WHERE request.number = ANY (%s) GROUP BY {', '.join(_KEPT.values())} "
    "ORDER BY 1 ON CONFLICT (names) DO UPDATE SET first = least(kept.first, excluded.first), "
    f"last = greatest(kept.last, excluded.last), {_SET}"
)


def keep_sums(connection: psycopg.Connection[Any], numbers: Sequence[int]) -> None:
    """Adds up what requests came to that are about to be removed, and are locked."""
    connection.execute(_KEEP, (list(numbers),))


def request_summary(connection: psycopg.Connection[Any], query: SummaryQuery) -> tuple[RequestSummary, ...]:
    """Sums by group, in its order; within one snapshot."""
    condition, bound = _condition(query)
    size = len(query.by)
    listed = "".join(f"{_VALUES[name]}, " for name in query.by)
    grouped = ", ".join(str(place + 1) for place in range(size))
    # Without dimensions there is one group, or none where there are no requests.
    ends = f" GROUP BY {grouped}" if grouped else " HAVING count(*) > 0"
    rows = connection.execute(
        f"SELECT {listed}{_SUMMED} FROM tiny_dancer.request{_joined(query)}{_FEEDBACK} WHERE {condition}{ends}",
        bound,
        binary=True,
    )
    groups: dict[tuple[Value, ...], Sums] = {row[:size]: Sums(list(row[size:])) for row in rows}
    _add_removed(connection, query, groups)
    latencies = _percentiles(connection, query, "latency", condition, bound)
    first_bytes = _percentiles(connection, query, "ttft", condition, bound)
    return summaries(query, groups, latencies, first_bytes)


def _add_removed(
    connection: psycopg.Connection[Any], query: SummaryQuery, groups: dict[tuple[Value, ...], Sums]
) -> None:
    after, bound = of_time(query.since, None, "last")
    before, ends = of_time(None, query.until, "first")
    condition = f"{after} AND {before}"
    bound += ends
    for name, wanted in query.kept_where.items():
        condition += f" AND ({name} = ANY (%s::{_type(name)}[]) OR {name} IS NULL)"
        bound.append(list(wanted))
    within, limits = of_time(query.since, None, "first")
    until, later = of_time(None, query.until, "last")
    known = "FALSE" if query.asks_more else f"(errors IS NOT NULL AND {within} AND {until})"
    listed = "".join(f"{name if name in KEPT else 'NULL::text'}, " for name in query.by)
    totals = ", ".join(f"sum({name})::bigint" if name == "requests" else _total(name) for name in SUMS)
    places = ", ".join(str(place + 1) for place in range(len(query.by) + 1))
    rows = connection.execute(
        f"SELECT {known}, {listed}{totals} FROM tiny_dancer.request_sums WHERE {condition} GROUP BY {places}",
        (*([] if query.asks_more else [*limits, *later]), *bound),
        binary=True,
    )
    add_removed(query, groups, rows)


def _type(dimension: str) -> str:
    return "bigint" if dimension in _WHOLE else "text"


def _joined(query: SummaryQuery) -> str:
    return _BY_TAG if "tag" in query.by else ""


def _condition(query: SummaryQuery) -> tuple[str, list[Any]]:
    condition, bound = of_time(query.since, query.until, "request.time")
    for name, wanted in query.where.items():
        value = f"({_TAGS}) &&" if name == "tag" else f"{_VALUES[name]} = ANY"
        condition += f" AND {value} (%s::{_type(name)}[])"
        bound.append(list(wanted))
    return condition, bound


def _percentiles(
    connection: psycopg.Connection[Any], query: SummaryQuery, column: str, condition: str, bound: list[Any]
) -> dict[tuple[Any, ...], Percentiles]:
    """By group, of the requests that have a value in the column."""
    if not query.percentiles:
        return {}
    names = [f"group_{place}" for place in range(len(query.by))]
    columns = "".join(f"{_VALUES[name]} AS {alias}, " for name, alias in zip(query.by, names, strict=True))
    parts = f"PARTITION BY {', '.join(names)}" if names else ""
    # In whole numbers, as nearest_rank: percentile_disc multiplies with a double.
    places = ", ".join(f"({percent} * size + 99) / 100" for percent in PERCENTS)
    rows = connection.execute(
        f"SELECT * FROM (SELECT *, row_number() OVER ({parts} ORDER BY value) AS place, "
        f"count(*) OVER ({parts}) AS size FROM (SELECT {columns}request.{column} AS value "
        f"FROM tiny_dancer.request{_joined(query)} WHERE {condition} AND request.{column} IS NOT NULL) AS each) "
        f"AS ranked WHERE place IN ({places})",
        bound,
        binary=True,
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
