"""SQLite, by apsw: a function called for each row of a table of the texts."""

from __future__ import annotations

import json
import time

from doors import Given, Measured

LABEL = "SQLite"
PASSES = 100


def measure(given: Given) -> Measured | str:
    """In this process, one thread."""
    try:
        import apsw

        import tiny_dancer.sqlite
    except ImportError as error:
        return f"needs {error.name}"
    texts = json.loads(given.requests.read_text(encoding="utf-8")) * PASSES
    connection = apsw.Connection(":memory:")
    tiny_dancer.sqlite.register(connection, given.artifact)
    connection.execute("CREATE TABLE asked (text TEXT)")
    connection.executemany("INSERT INTO asked VALUES (?)", ((text,) for text in texts))
    query = (
        "SELECT count(decided.model), count(decided.reason) FROM asked, tiny_dancer_decide(asked.text) AS decided"
    )
    taken = []
    for _ in range(given.rounds):
        begun = time.perf_counter()
        connection.execute(query).fetchall()
        taken.append(time.perf_counter() - begun)
    connection.close()
    return Measured(min(taken) / len(texts) * 1e6, note="a row of a table, to a row")
