"""DuckDB: a function over a table of the texts, which gets whole vectors of them and decides on all processors."""

from __future__ import annotations

import json
import time

from doors import Given, Measured

LABEL = "DuckDB"
ROWS = 50_000


def measure(given: Given) -> Measured | str:
    """In this process; the engine decides on all processors, unlike at other doors."""
    try:
        import duckdb

        import tiny_dancer.duckdb
    except ImportError as error:
        return f"needs {error.name}"
    texts = json.loads(given.requests.read_text(encoding="utf-8"))
    passes = max(1, ROWS // len(texts))
    with duckdb.connect() as connection:
        tiny_dancer.duckdb.register(connection, given.artifact)
        asked = "CREATE TABLE asked AS SELECT unnest(?::VARCHAR[]) AS text FROM range(?)"
        connection.execute(asked, [texts, passes])
        decided = "SELECT tiny_dancer_decide(text) AS decided FROM asked"
        query = f"SELECT count(decided.model), count(decided.reason) FROM ({decided})"
        taken = []
        for _ in range(given.rounds):
            wall, processor = time.perf_counter(), time.process_time()
            connection.execute(query).fetchall()
            taken.append((time.perf_counter() - wall, time.process_time() - processor))
    rows = passes * len(texts)
    best, busy = (min(each[place] for each in taken) / rows * 1e6 for place in (0, 1))
    return Measured(busy, note="processor time a row of a table, to a struct", extra={"wall_us": best})
