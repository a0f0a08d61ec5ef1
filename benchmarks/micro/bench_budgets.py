"""Reserving and settling of budgets in SQLite by two processes, beside what a program would write without them, in
the same run; and how much is overspent when processes are killed at random.

    python benchmarks/micro/bench_budgets.py                       a million calls under kills, and the speed
    python benchmarks/micro/bench_budgets.py --calls 100000

The yardsticks change one row of a database in one transaction a time: ``UPDATE ... WHERE spent + reserved + ? <=
most`` to reserve and an ``UPDATE`` to settle, with the durability of ours (``synchronous = FULL``), and without
(``OFF``: a loss of power may take anything).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apsw

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.budget_faults import kill_at_random, kill_at_steps

from common import write
from tiny_dancer import Budget, Budgets, SqliteStorage

PROCESSES = 2
SECONDS = 4.0
ROUNDS = 3
WHO: dict[str, dict[str, Any]] = {
    "one budget": {"team": "a"},
    "four budgets": {"team": "a", "user": "b", "model": "c"},
}
LEDGERS = {"UPDATE, FULL": "FULL", "UPDATE, OFF": "OFF"}


def main() -> None:
    """Runs, and writes what came of it; exits with 1 where anything was overspent or forgotten."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--pause", type=float, default=2.5)
    parser.add_argument("--speed-only", action="store_true", help="print the speed alone")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(_count(given.work[0], Path(given.work[1])))
        return
    rates: dict[str, list[float]] = {name: [] for name in (*WHO, *LEDGERS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        for _ in range(ROUNDS):
            for each, found in rates.items():
                found.append(_rate(each, folder))
    best = {name: max(found) for name, found in rates.items()}
    if given.speed_only:
        print(best)
        return
    with tempfile.TemporaryDirectory() as name:
        stepped = kill_at_steps(Path(name), 7)
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        killed = kill_at_random(
            Path(name),
            processes=PROCESSES,
            calls=given.calls,
            scale=0.06 * given.calls,
            pause_s=given.pause,
            seed=0,
        )
        seconds = time.monotonic() - began
    results = {
        "processes": PROCESSES,
        "target_per_s": 20_000,
        "reserve and settle, per s": {
            name: {
                "best": round(best[name]),
                "median": round(sorted(found)[len(found) // 2]),
                "x UPDATE, FULL": round(best[name] / best["UPDATE, FULL"], 1),
            }
            for name, found in rates.items()
        },
        "reservations asked for under kills": given.calls,
        "seconds under kills": round(seconds, 1),
        "killed at random": asdict(killed),
        "killed at every seventh line": asdict(stepped),
    }
    write(
        "budgets",
        results,
        "Two processes over one database. Wanted: 0 in overspent (USD paid beyond a budget in any period or "
        "window) and in forgotten (USD paid and not counted). too_much is what killed processes had reserved, "
        "USD. used: the largest share of a limit that was paid. Prices have tiers, cached and written prompts; "
        "budgets are of a user, a team, a model, a tag and all, in months, days, 30 s and rolling 30 s. calls: "
        "made, of those asked for.",
    )
    wrong = [*killed.overspent.values(), *killed.forgotten.values()]
    wrong += [*stepped.overspent.values(), *stepped.forgotten.values()]
    sys.exit(1 if any(wrong) else 0)


def _prepare(folder: Path) -> None:
    with SqliteStorage(folder / "agent.db") as storage:
        for scope, subject in (("team", "a"), ("user", "b"), ("model", "c")):
            storage.insert_budget(Budget(scope, subject, limit=1_000_000, period="month"))
        storage.insert_budget(Budget("tag", "x", limit=1_000_000, period="rolling 30d"))
    connection = apsw.Connection(str(folder / "ledger.db"))
    connection.pragma("journal_mode", "wal")
    connection.execute(
        "CREATE TABLE budget (id INTEGER PRIMARY KEY, most INTEGER, spent INTEGER, reserved INTEGER)"
    )
    connection.execute("INSERT INTO budget VALUES (1, 1000000000000000000, 0, 0)")
    connection.close()


def _rate(name: str, folder: Path) -> float:
    """Reservations that were settled, per second, of all processes together."""
    command = [sys.executable, __file__, "--work", name, str(folder)]
    for ready in folder.glob("*.ready"):
        ready.unlink()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    return sum(float(each.communicate()[0]) for each in running)


def _count(name: str, folder: Path) -> float:
    count = _ours if name in WHO else _ledger
    return count(name, folder)


def _ours(name: str, folder: Path) -> float:
    who = dict(WHO[name])
    if name == "four budgets":
        who["tags"] = ("x",)
    with SqliteStorage(folder / "agent.db") as storage, Budgets(storage) as budgets:
        for _ in range(200):
            budgets.reserve(0.002, **who).settle(0.001)
        return _repeated(lambda: budgets.reserve(0.002, **who).settle(0.001), 50, folder)


def _ledger(name: str, folder: Path) -> float:
    connection = apsw.Connection(str(folder / "ledger.db"))
    connection.set_busy_timeout(60_000)
    connection.pragma("synchronous", LEDGERS[name])
    reserve = "UPDATE budget SET reserved = reserved + ?1 WHERE id = 1 AND spent + reserved + ?1 <= most"
    settle = "UPDATE budget SET reserved = reserved - ?1, spent = spent + ?2 WHERE id = 1"

    def one() -> None:
        connection.execute(reserve, (2_000_000_000,))
        connection.execute(settle, (2_000_000_000, 1_000_000_000))

    return _repeated(one, 1, folder)


def _repeated(one: Any, at_once: int, folder: Path) -> float:
    """Times a second, from when all processes are there."""
    (folder / f"{os.getpid()}.ready").touch()
    while len(list(folder.glob("*.ready"))) < PROCESSES:
        time.sleep(0.001)
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < SECONDS:
        for _ in range(at_once):
            one()
        count += at_once
    return count / (now - began)


if __name__ == "__main__":
    main()
