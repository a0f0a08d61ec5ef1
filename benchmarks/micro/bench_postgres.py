"""Storage over PostgreSQL beside SQLite, both durable: reserving and settling by two processes, writing requests.

Each figure also as a multiple of the least a durable write costs there: an UPDATE of one row and its commit, in
the same run, the server's through psycopg, SQLite's through apsw. The server is the benchmark's own, on this
machine, over a Unix socket, with ``fsync`` and ``synchronous_commit`` on.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.contract.requests import request
from tests.postgres import Server, programs

from common import write
from tiny_dancer.storage import Budget, CandidateRecord, open_storage
from tiny_dancer.storage.budgets import Draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.storage import Storage

SECONDS = 4.0
REPEATED = 5
BATCHES = (1, 64, 512)
SPENDING = """
import sys, time
from tiny_dancer.budgets import Budgets
from tiny_dancer.storage import open_storage
with open_storage(sys.argv[1], mirror=False) as storage, Budgets(storage) as budgets:
    budgets.reserve(1e-6).settle(1e-6)
    print("ready", flush=True)
    sys.stdin.readline()
    calls, end = 0, time.perf_counter() + float(sys.argv[2])
    while time.perf_counter() < end:
        budgets.reserve(1e-5).settle(7e-6)
        calls += 1
print(calls)
"""


def median(found: list[float]) -> float:
    return sorted(found)[len(found) // 2]


def update_of_a_row(place: str) -> Callable[[int], None]:
    """One UPDATE and its commit."""
    if place.startswith("postgresql://"):
        server = psycopg.connect(place, autocommit=True)
        server.execute("CREATE TABLE public.one (value bigint); INSERT INTO public.one VALUES (0)")
        return lambda turn: void(server.execute("UPDATE public.one SET value = %s", (turn,)))
    file = apsw.Connection(f"{place}.one")
    file.pragma("journal_mode", "wal")
    file.pragma("synchronous", "FULL")
    file.execute("CREATE TABLE one (value INTEGER); INSERT INTO one VALUES (0)")
    return lambda turn: void(file.execute("UPDATE one SET value = ?", (turn,)))


def void(_: object) -> None:
    """Nothing."""


def milliseconds(call: Callable[[int], None], calls: int) -> float:
    """Of one call, the median of some rounds."""
    found = []
    for turn in range(REPEATED):
        start = time.perf_counter()
        for number in range(calls):
            call(turn * calls + number)
        found.append(1e3 * (time.perf_counter() - start) / calls)
    return median(found)


def reserved_by_two(place: str) -> float:
    """Reserved and settled a second by two processes, of one budget that is large."""
    with open_storage(place, mirror=False) as storage:
        storage.insert_budget(Budget("all", limit=9e6), replace=True)
    command = [sys.executable, "-c", SPENDING, place, str(SECONDS)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for each in processes:
        assert each.stdout.readline() == "ready\n"
    calls = 0
    for each in processes:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in processes:
        calls += int(each.communicate()[0])
    return calls / SECONDS


def measured(place: str) -> dict[str, Any]:
    with open_storage(place) as storage:
        least = milliseconds(update_of_a_row(place), 100)
        figures: dict[str, Any] = {"update_ms": round(least, 4)}
        moment = 1e9
        for size in BATCHES:
            made = [
                [request(f"{number}/{row}", moment + number, model="m", cost=1e-4) for row in range(size)]
                for number in range(REPEATED * 40)
            ]
            moment += 1e6
            each = milliseconds(lambda turn, made=made: storage.record_requests(made[turn]), 40)
            figures[f"requests_{size}"] = {
                "ms": round(each, 4),
                "rows_a_second": round(1e3 * size / each),
                "updates": round(each / least, 2),
            }
        figures["draw"] = drawn(storage, least)
        figures["candidates_1000_ms"] = round(1e3 * inserted(storage), 1)
        figures["search_ms"] = round(
            milliseconds(lambda _: void(storage.query_candidates("text", touch=False)), 50), 4
        )
    figures["reserve_and_settle_by_two_a_second"] = round(reserved_by_two(place))
    return figures


def drawn(storage: Storage, least: float) -> dict[str, float]:
    """Of a budget's ledger: what a reservation waits for once in a hundred."""
    each = milliseconds(
        lambda turn: void(storage.draw_budget(Draw("b", 1, 5, 5, turn, turn + 1, 10**9, 0, 0))), 60
    )
    return {"ms": round(each, 4), "updates": round(each / least, 2)}


def inserted(storage: Storage) -> float:
    """Seconds to insert 1,000 candidates with 256 values each."""
    rows = np.random.default_rng(5).standard_normal((1000, 256)).astype(np.float32)
    start = time.perf_counter()
    storage.insert_candidates(CandidateRecord(f"{row}", rows[row], f"text {row}") for row in range(1000))
    return time.perf_counter() - start


def main() -> None:
    bin = programs()
    if bin is None:
        print("needs PostgreSQL (Debian: postgresql)", file=sys.stderr)
        raise SystemExit(1)
    server = Server(bin, {"fsync": "on", "full_page_writes": "on", "autovacuum": "on", "jit": "on"})
    try:
        with tempfile.TemporaryDirectory(dir=server.folder.parent) as folder:
            figures = {
                "postgresql": measured(server.database()),
                "sqlite": measured(str(Path(folder) / "agent.db")),
                "server": server.program("postgres", "--version").strip(),
            }
    finally:
        server.remove()
    write(
        "postgres",
        figures,
        "Storage over PostgreSQL beside SQLite, both durable. `updates`: as a multiple of an UPDATE of one row "
        "and its commit, there, in the same run.",
    )


if __name__ == "__main__":
    main()
