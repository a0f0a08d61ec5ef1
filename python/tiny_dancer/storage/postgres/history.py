"""The statements about history. Those that write run within a transaction."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import outcomes_of_feedback
from tiny_dancer.storage.history import Outcome
from tiny_dancer.storage.postgres.agents import count_outcomes
from tiny_dancer.storage.postgres.candidates import count_feedback
from tiny_dancer.storage.postgres.conditions import of_history, of_time
from tiny_dancer.storage.postgres.ledger import request_history
from tiny_dancer.storage.postgres.summaries import keep_sums
from tiny_dancer.storage.statistics import at_percentiles, of_sums
from tiny_dancer.storage.storage import first_kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tiny_dancer.storage.history import Feedback, HistoryQuery, RoutingRecord, Statistics

_FIELDS = ", ".join(columns.ROUTING)
# Rows of one transaction.
REMOVED_AT_ONCE = 1000


def insert_routing(connection: psycopg.Connection[Any], records: Sequence[RoutingRecord]) -> None:
    """Adds decisions; of one decision id the first stays."""
    connection.execute(
        f"INSERT INTO tiny_dancer.routing ({_FIELDS}) SELECT {_FIELDS} "
        "FROM json_populate_recordset(NULL::tiny_dancer.routing, %s) ON CONFLICT (decision_id) DO NOTHING",
        (msgspec.json.encode(records).decode(),),
    )


def put_feedback(connection: psycopg.Connection[Any], feedback: Feedback) -> None:
    """Keeps feedback in place of what was said before, and counts it for its candidate."""
    about = feedback.candidate_id or ""
    before = connection.execute(
        "DELETE FROM tiny_dancer.feedback WHERE decision_id = %s AND candidate_id = %s RETURNING score",
        (feedback.decision_id, about),
        binary=True,
    ).fetchone()
    # Where another has said something meanwhile, it is there twice: that is undone and done again.
    connection.execute(
        "INSERT INTO tiny_dancer.feedback (decision_id, candidate_id, score, time, text) "
        "VALUES (%s, %s, %s, %s, %s)",
        (feedback.decision_id, about, feedback.score, feedback.time, feedback.text),
    )
    if about:
        gained = feedback.score - (0.0 if before is None else before[0])
        count_feedback(connection, about, int(before is None), gained)
    elif before is None:
        _count_for_agent(connection, feedback)


def _count_for_agent(connection: psycopg.Connection[Any], feedback: Feedback) -> None:
    """Counts the first feedback on a gateway's request for the agent that answered it."""
    if connection.execute("SELECT FROM tiny_dancer.agent LIMIT 1").fetchone() is None:
        return
    count_outcomes(connection, outcomes_of_feedback(feedback, partial(request_history, connection)))


def put_outcome(connection: psycopg.Connection[Any], outcome: Outcome) -> None:
    """Keeps an outcome in place of an earlier one of the same model."""
    connection.execute(
        "DELETE FROM tiny_dancer.outcome WHERE decision_id = %s AND model = %s",
        (outcome.decision_id, outcome.model),
    )
    connection.execute(
        "INSERT INTO tiny_dancer.outcome (decision_id, model, quality, cost, latency_s, time) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (outcome.decision_id, outcome.model, outcome.quality, outcome.cost, outcome.latency_s, outcome.time),
    )


def routing_history(connection: psycopg.Connection[Any], query: HistoryQuery) -> tuple[RoutingRecord, ...]:
    """Decisions, newest first."""
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT {_FIELDS} FROM tiny_dancer.routing WHERE {condition} ORDER BY time DESC, number DESC LIMIT %s",
        values,
        binary=True,
    )
    return tuple(columns.routing(row) for row in rows)


def feedback_history(connection: psycopg.Connection[Any], query: HistoryQuery) -> tuple[Feedback, ...]:
    """Feedback, newest first."""
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT decision_id, score, candidate_id, time, text FROM tiny_dancer.feedback WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT %s",
        values,
        binary=True,
    )
    return tuple(columns.feedback(row) for row in rows)


def outcome_history(connection: psycopg.Connection[Any], query: HistoryQuery) -> tuple[Outcome, ...]:
    """Outcomes, newest first."""
    condition, values = of_history(query)
    rows = connection.execute(
        f"SELECT decision_id, model, quality, cost, latency_s, time FROM tiny_dancer.outcome WHERE {condition} "
        "ORDER BY time DESC, number DESC LIMIT %s",
        values,
        binary=True,
    )
    return tuple(Outcome(*row) for row in rows)


def statistics(
    connection: psycopg.Connection[Any], since: float | None, until: float | None, dropped: int
) -> Statistics:
    """Figures of a span of time; within one snapshot."""
    condition, values = of_time(since, until)

    def one(statement: str, *more: float) -> Any:
        row = connection.execute(statement, (*values, *more), binary=True).fetchone()
        assert row is not None
        return row

    def counts(column: str) -> dict[Any, int]:
        statement = f"SELECT {column}, count(*) FROM tiny_dancer.routing WHERE {condition} GROUP BY 1"
        return dict(sorted(connection.execute(statement, values, binary=True).fetchall()))

    def total(column: str) -> str:
        return f"coalesce(sum(least({column}, 1e290)) FILTER (WHERE {column} IS NOT NULL), 0)"

    *routing, timed = one(
        f"SELECT count(*), avg(use_lightweight::int)::float8, {total('cost')}, {total('baseline_cost')}, "
        f"count(latency_us) FROM tiny_dancer.routing WHERE {condition}"
    )
    latencies = at_percentiles(
        timed,
        lambda place: one(
            f"SELECT latency_us FROM tiny_dancer.routing WHERE {condition} AND latency_us IS NOT NULL "
            "ORDER BY latency_us LIMIT 1 OFFSET %s",
            place,
        )[0],
    )
    feedback = one(f"SELECT count(*), avg(score) FROM tiny_dancer.feedback WHERE {condition}")
    outcomes = one(f"SELECT count(*), avg(quality) FROM tiny_dancer.outcome WHERE {condition}")
    (requests,) = one(f"SELECT count(*) FROM tiny_dancer.request WHERE {condition}")
    ((stored,),) = connection.execute("SELECT count(*) FROM tiny_dancer.candidate").fetchall()
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
    connection: psycopg.Connection[Any], table: str, oldest: float | None, most: int | None
) -> tuple[float, int] | None:
    """Time and number of the first row of a history to keep, of those that are there; None where all are kept.

    Looked up once: whoever removes up to there need not count again.
    """
    return first_kept(
        oldest,
        most,
        lambda place: connection.execute(
            f"SELECT time, number FROM tiny_dancer.{table} ORDER BY time DESC, number DESC LIMIT 1 OFFSET %s",
            (place,),
            binary=True,
        ).fetchone(),
    )


def remove_history(connection: psycopg.Connection[Any], table: str, before: tuple[float, int]) -> int:
    """Removes rows of a history before a time and number, the oldest first, at most ``REMOVED_AT_ONCE``; returns
    how many."""
    # What another process is removing is left to it: it counts it too.
    rows = connection.execute(
        f"SELECT number FROM tiny_dancer.{table} WHERE (time, number) < (%s, %s) ORDER BY time, number LIMIT %s "
        "FOR UPDATE SKIP LOCKED",
        (*before, REMOVED_AT_ONCE),
        binary=True,
    )
    numbers = [number for (number,) in rows]
    if table == "request":
        keep_sums(connection, numbers)
    connection.execute(f"DELETE FROM tiny_dancer.{table} WHERE number = ANY (%s)", (numbers,))
    return len(numbers)
