"""The extension of PostgreSQL, asked by SQL: many rows in one process and with workers, and a first call."""

from __future__ import annotations

import json
import os
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
RANKINGS = 2000


def processor_time(pid: int) -> float:
    """Seconds a process has used, as the system counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE requests (text text)")
        texts = json.loads(given.requests.read_text(encoding="utf-8"))
        with connection.cursor().copy("COPY requests FROM STDIN") as copy:
            for row in range(ROWS):
                copy.write_row((texts[row % len(texts)],))
        connection.execute("VACUUM ANALYZE requests")
        figures = rows(connection, given)
        ranking = rank(connection, given)
    figures["first call of a backend without an encoder, ms"] = first_call(url, "edge")
    figures["first call of a backend with an encoder, ms"] = first_call(url, "default")
    figures["library, bytes"] = (BUILT / "lib" / "tiny_dancer.so").stat().st_size
    decision = figures.pop("decision")
    note = (
        f"decide_model over {ROWS} rows in one process, processor time with all that the server does for a row; "
        "rank with both arrays unpacked and a new set of candidates for each call"
    )
    return Measured(decision, ranking, note, figures)


def rows(connection: psycopg.Connection[Any], given: Given) -> dict[str, float]:
    """Microseconds a row, and how many times faster workers are."""
    pid = connection.info.backend_pid
    settings = "parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0"
    connection.execute(f"SET max_parallel_workers_per_gather = 0; SET {settings}")
    load = "SELECT tiny_dancer.load_artifact('measured', %s)"
    connection.execute(load, (given.artifact.read_bytes(),))

    def best(statement: str) -> tuple[float, float]:
        """Processor time and time of the best of some runs, microseconds a row."""
        found = []
        for _ in range(TIMES):
            used, began = processor_time(pid), time.perf_counter()
            connection.execute(statement)
            found.append((processor_time(pid) - used, time.perf_counter() - began))
        return min(used for used, _ in found) / ROWS * 1e6, min(took for _, took in found) / ROWS * 1e6

    model = "SELECT count(tiny_dancer.decide_model(text, NULL, 'measured')) FROM requests"
    decision, alone = best(model)
    whole, _ = best("SELECT count((tiny_dancer.decide(text, NULL, 'measured')).model) FROM requests")
    connection.execute("SET max_parallel_workers_per_gather = 1")
    _, two = best(model)
    connection.execute("SET max_parallel_workers_per_gather = 2")
    _, three = best(model)
    connection.execute("SET max_parallel_workers_per_gather = 0")
    return {
        "decision": decision,
        "all columns, us": round(whole, 2),
        "leader and one worker, times faster": round(alone / two, 2),
        "leader and two workers, times faster": round(alone / three, 2),
    }


def rank(connection: psycopg.Connection[Any], given: Given) -> float:
    """Microseconds a ranking."""
    candidates = json.loads(given.candidates.read_text(encoding="utf-8"))
    connection.execute("CREATE TABLE candidates (ids text[], embeddings real[], query real[])")
    ids = [str(place) for place in range(len(candidates["rows"]))]
    values = (ids, candidates["rows"], candidates["query"])
    connection.execute("INSERT INTO candidates VALUES (%s, %s, %s)", values)
    statement = (
        f"SELECT count(candidate_id) FROM candidates, generate_series(1, {RANKINGS}) AS call,"
        " tiny_dancer.rank(NULL, ids, NULL, embeddings, query, '{\"k\": 10}')"
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
