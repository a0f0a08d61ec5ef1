"""The extension of PostgreSQL, asked by SQL: many rows in one process and with workers, and a first call."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doors import Given, Measured

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

if TYPE_CHECKING:
    import psycopg

LABEL = "PostgreSQL"
ROWS = 100_000
TIMES = 5
# Of a round as of the other doors': few rows, many rounds, so that some are undisturbed.
FEW, ROUNDS = 2_048, 40
RANKINGS = 200
MODEL = "tiny_dancer.decide_model(text, NULL, 'measured')"


def processor_time(pid: int) -> float:
    """Seconds a process has used, as the scheduler counts them, in nanoseconds."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measure(given: Given) -> Measured | str:
    """By the extension as `make pg` builds it, in a server of its own."""
    if sys.platform != "linux":
        return "needs Linux"
    import psycopg
    import pytest
    from tests.integration.pg_cluster import BUILT, database

    try:
        url = database()
    except pytest.skip.Exception as missing:
        return str(missing)
    # Never prepared: a plan kept from before would not have the workers that are allowed later.
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        texts = json.loads(given.requests.read_text(encoding="utf-8"))
        for table, number in (("requests", ROWS), ("few", FEW)):
            connection.execute(f"CREATE TABLE {table} (text text)")
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                for row in range(number):
                    copy.write_row((texts[row % len(texts)],))
            connection.execute(f"VACUUM ANALYZE {table}")
        load = "SELECT tiny_dancer.load_artifact('measured', %s)"
        connection.execute(load, (given.artifact.read_bytes(),))
        figures = rows(connection) | workers(connection)
        ranking = rank(connection, given)
    figures["first call of a backend without an encoder, ms"] = first_call(url, "edge")
    figures["first call of a backend with an encoder, ms"] = first_call(url, "default")
    figures["library, bytes"] = (BUILT / "lib" / "tiny_dancer.so").stat().st_size
    decision = figures.pop("decision")
    note = (
        "decide_model over a table: processor time of the backend a row, with all that the server does for it, in "
        f"the best of {ROUNDS} statements over {FEW:,} rows; figures below that say so are of {ROWS:,} rows; "
        "rank with both arrays unpacked and a new set of candidates for each call"
    )
    return Measured(decision, ranking, note, figures)


def rows(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Microseconds of processor time a row, in one process."""
    pid = connection.info.backend_pid
    connection.execute("SET max_parallel_workers_per_gather = 0")

    def best(what: str, table: str = "few", number: int = FEW, rounds: int = ROUNDS) -> float:
        found = []
        for _ in range(rounds):
            used = processor_time(pid)
            connection.execute(f"SELECT count({what}) FROM {table}")
            found.append(processor_time(pid) - used)
        return min(found) / number * 1e6

    decision, scan = best(MODEL), best("text")
    return {
        "decision": decision,
        "without what the same statement takes that only counts, us": round(decision - scan, 2),
        f"of {ROWS:,} rows, us": round(best(MODEL, "requests", ROWS, TIMES), 2),
        "all columns, us": round(best("(tiny_dancer.decide(text, NULL, 'measured')).model"), 2),
        "by the artifact without encoder, us": round(best("tiny_dancer.decide_model(text)"), 2),
    }


def workers(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """How many times faster workers are, in wall time over all rows, with the planner's own costs."""
    statement = f"SELECT count({MODEL}) FROM requests"
    took: dict[int, float] = {}
    launched: dict[int, int] = {}
    for number in (0, 1, 2):
        connection.execute(f"SET max_parallel_workers_per_gather = {number}")
        plan = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}").fetchone()
        launched[number] = _planned(plan[0][0]["Plan"] if plan else {})
        found = []
        for _ in range(TIMES):
            began = time.perf_counter()
            connection.execute(statement)
            found.append(time.perf_counter() - began)
        took[number] = min(found)
    connection.execute("SET max_parallel_workers_per_gather = 0")
    return {
        f"{ROWS:,} rows in one process, s": round(took[0], 3),
        "leader and one worker, times faster": round(took[0] / took[1], 2),
        "leader and two workers, times faster": round(took[0] / took[2], 2),
        "workers the planner takes by itself where one or two are allowed": [launched[1], launched[2]],
    }


def _planned(node: dict[str, Any]) -> int:
    return int(node.get("Workers Planned", 0)) + sum(_planned(each) for each in node.get("Plans", ()))


def rank(connection: psycopg.Connection[Any], given: Given) -> float:
    """Microseconds a ranking."""
    candidates = json.loads(given.candidates.read_text(encoding="utf-8"))
    connection.execute("CREATE TABLE candidates (ids text[], embeddings real[], query real[])")
    ids = [str(place) for place in range(len(candidates["rows"]))]
    values = (ids, candidates["rows"], candidates["query"])
    connection.execute("INSERT INTO candidates VALUES (%s, %s, %s)", values)
    statement = (
        f"SELECT count(candidate_id) FROM candidates, generate_series(1, {RANKINGS}) AS call,"
        # What a call is given depends on the row, as one for all rows would be made once.
        " tiny_dancer.rank(NULL, ids, NULL, embeddings, CASE WHEN call > 0 THEN query END, '{\"k\": 10}')"
    )
    pid, found = connection.info.backend_pid, []
    for _ in range(TIMES):
        used = processor_time(pid)
        connection.execute(statement)
        found.append(processor_time(pid) - used)
    return min(found) / RANKINGS * 1e6


def first_call(url: str, artifact: str) -> float:
    """Milliseconds until a new backend has decided once, the best of some."""
    import psycopg

    found = []
    for _ in range(9):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT 1")
            began = time.perf_counter()
            connection.execute("SELECT tiny_dancer.decide_model('What is this?', NULL, %s)", (artifact,))
            found.append(time.perf_counter() - began)
    return round(min(found) * 1e3, 2)
