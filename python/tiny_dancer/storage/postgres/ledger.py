"""The statements about the gateway's requests. Those that write run within a transaction.

Records go to the server as one JSON value, whatever their number, and become rows there.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import outcomes_of
from tiny_dancer.storage.ledger import by_key, days_and_parts
from tiny_dancer.storage.postgres.agents import count_outcomes
from tiny_dancer.storage.postgres.conditions import of_time
from tiny_dancer.storage.summaries import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.ledger import RequestQuery
    from tiny_dancer.types import RequestRecord

_NAMES = ", ".join(f'"{field}"' for field in columns.REQUEST)
_COLUMNS = ", ".join(f'request."{field}"' for field in columns.REQUEST)

# What is there already is not counted again: what a process that was killed has left may be written a second time.
_INSERT = (
    f"WITH added AS (INSERT INTO tiny_dancer.request ({_NAMES}) SELECT {_NAMES} "
    "FROM json_populate_recordset(NULL::tiny_dancer.request, %s) "
    "ON CONFLICT (time, hashtextextended(id, 0), hashtextextended(id, 1)) DO NOTHING RETURNING *), "
    "summed AS (INSERT INTO tiny_dancer.spend AS spend "
    f"SELECT floor(time)::bigint / {DAY}, key, model, "
    "coalesce(sum(least(cost, 1e290)) FILTER (WHERE cost IS NOT NULL), 0), sum(input_tokens + output_tokens), "
    "count(*) FROM added GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 "
    "ON CONFLICT (day, hashtextextended(key, 0), hashtextextended(key, 1), hashtextextended(model, 0), "
    "hashtextextended(model, 1)) DO UPDATE SET cost = least(spend.cost + excluded.cost, 1e300), "
    "tokens = spend.tokens + excluded.tokens, requests = spend.requests + excluded.requests) "
    f"SELECT {_NAMES} FROM added WHERE agent <> '' OR agents_failed <> '{{}}'"
)


def insert_requests(connection: psycopg.Connection[Any], records: str) -> None:
    """Adds requests, a JSON list of them; of one id and time the first stays."""
    rows = connection.execute(_INSERT, (records,), binary=True)
    count_outcomes(connection, [each for row in rows for each in outcomes_of(columns.request(row, tuple))])


def as_json(records: Sequence[RequestRecord]) -> str:
    """Requests as :func:`insert_requests` takes them.

    Raises:
        UnicodeEncodeError: a lone surrogate.
        OverflowError: a number beyond 64 bits.
    """
    return msgspec.json.encode(records).decode()


def request_history(connection: psycopg.Connection[Any], query: RequestQuery) -> tuple[RequestRecord, ...]:
    """Requests, newest first."""
    condition, values = of_time(query.since, query.until)
    for column, text in query.wanted.items():
        condition += f" AND {column} = %s"
        values.append(text)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM tiny_dancer.request WHERE {condition} ORDER BY time DESC, number DESC LIMIT %s",
        (*values, query.limit),
        binary=True,
    )
    return tuple(columns.request(row, tuple) for row in rows)


def spend(connection: psycopg.Connection[Any], since: float, until: float | None) -> dict[str, Spend]:
    """What each key has used: whole days from their sums, the rest of the first and last from their requests."""
    whole, parts = days_and_parts(since, until)
    of_requests = (
        " UNION ALL SELECT key, model, CASE WHEN cost > 1e290 THEN 1e290 ELSE cost END, "
        "input_tokens + output_tokens, 1 FROM tiny_dancer.request WHERE time >= %s AND time < %s"
    )
    rows = connection.execute(
        "SELECT key, model, coalesce(sum(cost), 0), sum(tokens)::bigint, sum(requests)::bigint FROM ("
        "SELECT key, model, cost, tokens, requests FROM tiny_dancer.spend WHERE day >= %s AND day < %s"
        f"{of_requests * len(parts)}) AS used GROUP BY key, model",
        (*whole, *chain.from_iterable(parts)),
        binary=True,
    )
    return by_key(rows)
