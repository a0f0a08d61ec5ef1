"""The statements about the gateway's requests. Those that write run within the writer's transaction."""

from __future__ import annotations

import struct
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from tiny_dancer.storage import columns
from tiny_dancer.storage.agents import outcomes_of
from tiny_dancer.storage.ledger import LISTS, by_key, days_and_parts, fits, fitting
from tiny_dancer.storage.sqlite.agents import count_outcomes
from tiny_dancer.storage.sqlite.conditions import of_time
from tiny_dancer.storage.summaries import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tiny_dancer.storage.keys import Spend
    from tiny_dancer.storage.ledger import RequestQuery
    from tiny_dancer.types import RequestRecord

_COLUMNS = ", ".join(f"request.{field}" for field in columns.REQUEST)
# Rows of one statement. Between two statements the interpreter is let go and asked for again, which costs more
# than a row does where the event loop is busy.
_TOGETHER = 64
_SCORES, _REMOVED = columns.REQUEST.index("scores"), columns.REQUEST.index("removed")
_LISTS = tuple(columns.REQUEST.index(each) for each in LISTS)
# A row of request_ids takes more until it has this many bytes: it then fits one page.
_HASHES = 3000
# What a record that does not fit its columns raises: surrogates, counts beyond 64 bits, values a CHECK refuses.
_UNFIT = (UnicodeEncodeError, OverflowError, apsw.ConstraintError)
_encode = msgspec.json.Encoder().encode
_decode_list = msgspec.json.Decoder(tuple[str, ...]).decode
_as_tuple = msgspec.structs.astuple


def _insert(rows: int) -> str:
    values = f"({', '.join('?' * len(columns.REQUEST))})"
    return (
        f"INSERT INTO request ({', '.join(columns.REQUEST)}) VALUES {', '.join([values] * rows)} "
        "ON CONFLICT (time, id) DO NOTHING"
    )


_INSERT_MANY, _INSERT_ONE = _insert(_TOGETHER), _insert(1)


def insert_requests(connection: apsw.Connection, records: Sequence[RequestRecord]) -> None:
    """Adds requests; of one id and time the first stays."""
    before = connection.execute("SELECT coalesce(max(number), 0) FROM request").get
    assert isinstance(before, int)
    if not all(map(fits, records)):
        records = [fitting(record) for record in records]
    try:
        hashes = _hashed_ids(records)
        _insert_all(connection, records)
    except _UNFIT:
        # Those before the one that does not fit are there, and stay as they are.
        records = [fitting(record) for record in records]
        hashes = _hashed_ids(records)
        _insert_all(connection, records)
    if connection.execute("SELECT coalesce(max(number), 0) FROM request").get == before:
        return  # all of them were there: what a process that was killed has left may be written a second time
    connection.execute(
        f"INSERT INTO spend SELECT CAST(time AS INTEGER) / {DAY}, key, model, total(cost), "
        "sum(input_tokens + output_tokens), count(*) FROM request WHERE number > ? GROUP BY 1, 2, 3 "
        "ON CONFLICT (day, key, model) DO UPDATE SET cost = cost + excluded.cost, "
        "tokens = tokens + excluded.tokens, requests = requests + excluded.requests",
        (before,),
    )
    if any(record.agent or record.agents_failed for record in records):
        added = connection.execute(
            f"SELECT {_COLUMNS} FROM request WHERE number > ? AND (agent <> '' OR agents_failed <> '[]')",
            (before,),
        ).fetchall()
        count_outcomes(
            connection, [each for row in added for each in outcomes_of(columns.request(row, _decode_list))]
        )
    connection.execute(
        "UPDATE request_ids SET hashes = CAST(hashes || ? AS BLOB) "
        "WHERE first = (SELECT max(first) FROM request_ids) AND length(hashes) < ?",
        (hashes, _HASHES),
    )
    if not connection.changes():
        connection.execute("INSERT INTO request_ids (first, hashes) VALUES (?, ?)", (before + 1, hashes))


def _hashed_ids(records: Iterable[RequestRecord]) -> bytes:
    """CRC-32 of every id, response id and decision id that is there, 4 bytes each, little-endian."""
    crc = zlib.crc32
    hashes = [
        crc(id.encode())
        for record in records
        for id in (record.id, record.response_id, record.decision_id)
        if id is not None
    ]
    return struct.pack(f"<{len(hashes)}I", *hashes)


def _insert_all(connection: apsw.Connection, records: Sequence[RequestRecord]) -> None:
    rows = [_row(record) for record in records]
    whole = len(rows) - len(rows) % _TOGETHER
    for start in range(0, whole, _TOGETHER):
        connection.execute(_INSERT_MANY, list(chain.from_iterable(rows[start : start + _TOGETHER])))
    connection.executemany(_INSERT_ONE, rows[whole:])


def _row(record: RequestRecord) -> list[Any]:
    row = list(_as_tuple(record))
    if record.scores is not None:
        row[_SCORES] = _encode(record.scores).decode()
    for place in _LISTS:
        row[place] = _encode(row[place]).decode() if row[place] else "[]"
    row[_REMOVED] = _encode(record.removed).decode() if record.removed else "{}"
    return row


def index_ids(connection: apsw.Connection) -> None:
    """Fills ``request_ids``, which is empty, of requests that another database held."""
    rows = connection.execute("SELECT number, id, response_id, decision_id FROM request ORDER BY number")
    first, hashes, made = 0, b"", []
    for number, *ids in rows:
        if not hashes:
            first = number
        hashes += b"".join(_hashed(id) for id in ids if id is not None)
        if len(hashes) >= _HASHES:
            made.append((first, hashes))
            hashes = b""
    if hashes:
        made.append((first, hashes))
    connection.executemany("INSERT INTO request_ids (first, hashes) VALUES (?, ?)", made)


def _hashed(id: str) -> bytes:
    return zlib.crc32(id.encode()).to_bytes(4, "little")


def forget_ids(connection: apsw.Connection) -> None:
    """Removes from ``request_ids`` what belongs to requests that were removed."""
    # Numbers of removed rows may be given again: rows beyond the last request must not stay.
    connection.execute(
        "DELETE FROM request_ids WHERE first > (SELECT coalesce(max(number), 0) FROM request) OR first < "
        "(SELECT max(first) FROM request_ids WHERE first <= (SELECT min(number) FROM request))"
    )


def request_history(connection: apsw.Connection, query: RequestQuery) -> tuple[RequestRecord, ...]:
    """Requests, newest first."""
    condition, values = of_time(query.since, query.until, "request.time")
    for column, text in query.wanted.items():
        condition += f" AND request.{column} = ?"
        values.append(text)
    table = "request"
    bound: list[Any] = [*values]
    ids = [text for column, text in query.wanted.items() if column != "key"]
    if ids:
        # CROSS keeps the order: the few rows that match, then the requests of each.
        table = (
            "request_ids AS block CROSS JOIN request ON request.number >= block.first AND request.number < "
            "coalesce((SELECT min(later.first) FROM request_ids AS later WHERE later.first > block.first), "
            f"{2**63 - 1})"
        )
        condition += " AND instr(block.hashes, ?)"
        bound.append(_hashed(ids[0]))
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM {table} WHERE {condition} "
        "ORDER BY request.time DESC, request.number DESC LIMIT ?",
        (*bound, -1 if query.limit is None else query.limit),
    )
    return tuple(columns.request(row, _decode_list) for row in rows)


def spend(connection: apsw.Connection, since: float, until: float | None) -> dict[str, Spend]:
    """What each key has used: whole days from their sums, the rest of the first and last from their requests."""
    whole, parts = days_and_parts(since, until)
    of_requests = (
        " UNION ALL SELECT key, model, total(cost), sum(input_tokens + output_tokens), count(*) FROM request "
        "WHERE time >= ? AND time < ? GROUP BY key, model"
    )
    rows = connection.execute(
        "SELECT key, model, total(cost), sum(tokens), sum(requests) FROM ("
        "SELECT key, model, cost, tokens, requests FROM spend WHERE day >= ? AND day < ?"
        f"{of_requests * len(parts)}) GROUP BY key, model",
        (*whole, *chain.from_iterable(parts)),
    )
    return by_key(rows)
