"""Decisions as functions of DuckDB and SQLite, beside the same decisions asked in Python.

    python benchmarks/micro/bench_sql.py [ROWS]

DuckDB decides a table of ROWS texts (1,000,000) with two threads, and ``Router.route_batch`` a list of them, in
turn. What the engine takes for them, without arrays made of its answers, stands beside both. SQLite decides a
hundredth of them row by row, beside ``Router.route``. Processor time is stated as well: on a busy machine it is
the fairer of the two.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import apsw
import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_dancer.duckdb
import tiny_dancer.sqlite
from common import ROOT, write
from tiny_dancer import Router

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS, ROUNDS = 2, 3


def measured(actions: dict[str, Callable[[int], object]], rounds: int, rows: int, base: str) -> dict[str, Any]:
    """Of each action its times a row, and its ratios to ``base``, taken in turn, in another order each round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    chance = random.Random(0)
    for _ in range(rounds + 1):
        for name, action in chance.sample(sorted(actions.items()), len(actions)):
            wall, processor = time.perf_counter(), time.process_time()
            action(0)
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    figures: dict[str, Any] = {}
    for name, taken in times.items():
        pairs = list(zip(taken[1:], times[base][1:], strict=True))
        figures[name] = {}
        for place, kind in enumerate(("wall", "processor")):
            figures[name][f"{kind}_us_a_row"] = round(min(each[place] for each in taken[1:]) / rows * 1e6, 3)
            figures[name][f"{kind}_ratio"] = round(median(own[place] / other[place] for own, other in pairs), 3)
    return figures


def main() -> None:
    """Prints and writes the figures."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    lines = (ROOT / "python" / "tiny_dancer" / "data" / "requests.txt").read_text(encoding="utf-8").splitlines()
    said = [line for line in lines if line.strip()]
    texts = [f"{said[row % len(said)]} {row}" for row in range(rows)]
    router = Router.load()

    connection = duckdb.connect()
    connection.execute(f"SET threads = {THREADS}")
    tiny_dancer.duckdb.register(connection, router)
    given = pa.table({"text": texts})
    connection.register("given", given)
    connection.execute("CREATE TABLE asked AS SELECT text FROM given")
    connection.unregister("given")

    def duck(query: str) -> Any:
        return lambda _: connection.execute(query).fetchall()

    batches: dict[str, Any] = {
        "engine": lambda _: router._engine.decide_batch(texts),
        "route_batch": lambda _: router.route_batch(texts),
        "duckdb decide_model": duck(
            "SELECT count(*) FILTER (WHERE tiny_dancer_decide_model(text) = 'weak') FROM asked"
        ),
        "duckdb decide": duck(
            "SELECT avg(decided.quality), count(DISTINCT decided.model) "
            "FROM (SELECT tiny_dancer_decide(text) AS decided FROM asked)"
        ),
    }
    figures: dict[str, Any] = {"rows": rows, "threads": THREADS}
    figures["batches"] = measured(batches, ROUNDS, rows, "route_batch")

    few = texts[: max(1, rows // 100)]
    by_apsw, own = apsw.Connection(":memory:"), sqlite3.connect(":memory:")
    singles: dict[str, Any] = {"route": lambda _: [router.route(text).model for text in few]}
    query = "SELECT count(*) FILTER (WHERE tiny_dancer_decide_model(text) = 'weak') FROM asked"
    for name, database in (("apsw", by_apsw), ("sqlite3", own)):
        tiny_dancer.sqlite.register(database, router)
        database.execute("CREATE TABLE asked (text TEXT)")
        database.executemany("INSERT INTO asked VALUES (?)", ((text,) for text in few))
        singles[name] = lambda _, asked=database: asked.execute(query).fetchall()
    figures["one by one"] = measured(singles, 5, len(few), "route")
    note = (
        "Decisions by SQL: microseconds a row, and how many times those of what they stand beside, in wall time "
        "and in processor time of the whole process; the least of the rounds, and for ratios their median. "
        "Target: DuckDB, 1,000,000 rows, 2 threads, at most 1.2 times route_batch. "
        "engine: the native batch call, without arrays made of what it answers."
    )
    write("sql", figures, note, {"duckdb": duckdb.__version__, "pyarrow": pa.__version__})


if __name__ == "__main__":
    main()
