"""The statements about history. Those that write run within the writer's transaction."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import outcomes_of_feedback
from tiny_dancer.storage.history import Outcome
from tiny_dancer.storage.sqlite.agents import count_outcomes
from tiny_dancer.storage.sqlite.candidates import next_change
from tiny_dancer.storage.sqlite.conditions import of_history, of_time
from tiny_dancer.storage.sqlite.connection import snapshot
from tiny_dancer.storage.sqlite.ledger import request_history
from tiny_dancer.storage.sqlite.summaries import keep_sums
from tiny_dancer.storage.statistics import at_percentiles, of_sums
from tiny_dancer.storage.storage import first_kept
from tiny_dancer.storage.values import MOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from tiny_dancer.storage.history import Feedback, HistoryQuery, RoutingRecord, Statistics

_FIELDS = ", ".join(columns.ROUTING)
_PLACES = ", ".join("?" * len(columns.ROUTING))
_SHOWN = columns.ROUTING.index("shown")
# Rows of one statement: some milliseconds, whatever the disk.
REMOVED_AT_ONCE = 200


def insert_routing(connection: apsw.Connection, records: Iterable[RoutingRecord]) -> None:
    """Adds decisions; of one decision id the first stays."""
    connection.executemany(
        f"INSERT INTO routing ({_FIELDS}) VALUES ({_PLACES}) ON CONFLICT (decision_id) DO NOTHING",
        map(_row, records),
    )


def _row(record: RoutingRecord) -> list[Any]:
    row = [getattr(record, name) for name in columns.ROUTING]
    row[_SHOWN] = msgspec.json.encode(record.shown).decode()
    return row


def put_feedback(connection: apsw.Connection, feedback: Feedback) -> None:
    """Keeps feedback in place of what was said before, and counts it for its candidate."""
    about = feedback.candidate_id or ""
    before = connection.execute(
        "DELETE FROM feedback WHERE decision_id = ? AND candidate_id = ? RETURNING score",
        (feedback.decision_id, about),
    ).get
    connection.execute(
        "INSERT INTO feedback (decision_id, candidate_id, score, time, text) VALUES (?, ?, ?, ?, ?)",
        (feedback.decision_id, about, feedback.score, feedback.time, feedback.text),
    )
    if before is None and not about:
        _count_for_agent(connection, feedback)
    if about:
        more = 0 if before is not None else 1
        gained = feedback.score - (before if isinstance(before, int | float) else 0.0)
        # A candidate replaced since the first feedback has other counts: they stay a possible pair.
        connection.execute(
            f"UPDATE candidate SET trial_count = min(trial_count + ?1, {MOST}), "
            "success_count = min(max(success_count + ?2, 0.0), trial_count + ?1), change = ?3 WHERE id = ?4",
            (more, gained, next_change(connection), about),
        )


def _count_for_agent(connection: apsw.Connection, feedback: Feedback) -> None:
    """Counts the first feedback on a gateway's request for the agent that answered it."""
    if not connection.execute("SELECT count(*) FROM agent").get:
        return
    count_outcomes(connection, outcomes_of_feedback(feedback, partial(request_history, connection)))


def put_outcome(connection: apsw.Connection, outcome: Outcome) -> None:
    """Keeps an outcome in place of an earlier one of the same model."""
    connection.execute(
        "INSERT OR REPLACE INTO outcome (decision_id, model, quality, cost, latency_s, time) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (outcome.decision_id, outcome.model, outcome.quality, outcome.cost, outcome.latency_s, outcome.time),
    )


def routing_history(connection: apsw.Connection, query: HistoryQuery) -> tuple[RoutingRecord, ...]:
    """Decisions, newest first.

    Raises:
        StorageError: what was shown is not readable, which is named.
    """
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM routing WHERE {condition} ORDER BY time DESC, number DESC LIMIT ?", values
    )
    return tuple(columns.routing(row) for row in rows)


def feedback_history(connection: apsw.Connection, query: HistoryQuery) -> tuple[Feedback, ...]:
    """Feedback, newest first."""
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT decision_id, score, candidate_id, time, text FROM feedback WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT ?",
        values,
    )
    return tuple(columns.feedback(row) for row in rows)


def outcome_history(connection: apsw.Connection, query: HistoryQuery) -> tuple[Outcome, ...]:
    """Outcomes, newest first."""
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT decision_id, model, quality, cost, latency_s, time FROM outcome WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT ?",
        values,
    )
    return tuple(Outcome(*row) for row in rows)


def statistics(connection: apsw.Connection, since: float | None, until: float | None, dropped: int) -> Statistics:
    """Figures of a span of time."""
    condition, values = of_time(since, until)

    def one(statement: str, *more: float) -> Any:
        return connection.execute(statement, (*values, *more)).get

    def counts(column: str) -> dict[Any, int]:
        statement = f"SELECT {column}, count(*) FROM routing WHERE {condition} GROUP BY 1 ORDER BY 1"
        found: dict[Any, int] = dict(connection.execute(statement, values))
        return found

    with snapshot(connection):
        *routing, timed = one(
            "SELECT count(*), avg(use_lightweight), total(cost), total(baseline_cost), count(latency_us) "
            f"FROM routing WHERE {condition}"
        )
        latencies = at_percentiles(
            timed,
            lambda place: one(
                f"SELECT latency_us FROM routing WHERE {condition} AND latency_us IS NOT NULL "
                "ORDER BY latency_us LIMIT 1 OFFSET ?",
                place,
            ),
        )
        feedback = one(f"SELECT count(*), avg(score) FROM feedback WHERE {condition}")
        outcomes = one(f"SELECT count(*), avg(quality) FROM outcome WHERE {condition}")
        requests = one(f"SELECT count(*) FROM request WHERE {condition}")
        stored: Any = connection.execute("SELECT count(*) FROM candidate").get
        return of_sums(
            stored,
            tuple(routing),
            latencies,
            counts("kind"),
            counts("level"),
            feedback,
            outcomes,
            requests,
            dropped,
        )


def oldest_kept(
    connection: apsw.Connection, table: str, oldest: float | None, most: int | None
) -> tuple[float, int] | None:
    """Time and number of the first row of a history to keep, of those that are there; None where all are kept.

    Looked up once: whoever removes up to there need not count again.
    """
    return first_kept(
        oldest,
        most,
        lambda place: (
            connection.execute(
                f"SELECT time, number FROM {table} ORDER BY time DESC, number DESC LIMIT 1 OFFSET ?", (place,)
            ).get
        ),
    )


def remove_history(
    connection: apsw.Connection, table: str, before: tuple[float, int], seconds: float
) -> tuple[int, bool]:
    """Removes rows of a history before a time and number, the oldest first, for about so many seconds.

    Returns:
        How many, and whether there may be more.
    """
    end = monotonic() + seconds
    removed = 0
    while True:
        rows = (
            f"{table}.number IN (SELECT number FROM {table} WHERE (time, number) < (?, ?) "
            "ORDER BY time, number LIMIT ?)"
        )
        bound = [*before, REMOVED_AT_ONCE]
        if table == "request":
            keep_sums(connection, rows, bound)
        connection.execute(f"DELETE FROM {table} WHERE {rows}", bound)
        removed += connection.changes()
        if connection.changes() < REMOVED_AT_ONCE:
            return removed, False
        if monotonic() > end:
            return removed, True
