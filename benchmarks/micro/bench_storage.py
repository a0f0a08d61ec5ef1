"""Nearest candidates and routing records in SQLite, beside numpy's product over as many rows, in the same run."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import together, write
from tiny_dancer.storage import CandidateRecord, Filter, RoutingRecord, ShownCandidate, SqliteStorage

DIMENSION = 384
K = 10
HALF = Filter(equals={"kind": "fact"})
TARGETS_US = {1_000: 60, 10_000: 500, 100_000: 8_000}


def nearest(rows: int, folder: Path) -> dict[str, Any]:
    """One size: loading, then searches with and without a filter, by the mirror and by sqlite-vec."""
    generator = np.random.default_rng(rows)
    matrix = generator.standard_normal((rows, DIMENSION)).astype(np.float32)
    queries = [
        matrix[row] + 0.3 * generator.standard_normal(DIMENSION).astype(np.float32)
        for row in generator.integers(rows, size=50)
    ]
    path = folder / f"{rows}.db"
    with SqliteStorage(path) as mirrored, SqliteStorage(path, mirror=False) as plain:
        start = time.perf_counter()
        mirrored.insert_candidates(
            CandidateRecord(f"{row:06}", matrix[row], "x" * 100, metadata={"kind": ("fact", "plan")[row % 2]})
            for row in range(rows)
        )
        inserted = time.perf_counter() - start
        start = time.perf_counter()
        mirrored.query_candidates(queries[0], K, touch=False)
        loaded = time.perf_counter() - start
        found = together(
            {
                "numpy": lambda turn: matrix @ queries[turn % 50],
                "mirror": lambda turn: mirrored.query_candidates(queries[turn % 50], K, touch=False),
                "mirror, counting accesses": lambda turn: mirrored.query_candidates(queries[turn % 50], K),
                "mirror, filter passes half": lambda turn: mirrored.query_candidates(
                    queries[turn % 50], K, filter=HALF, touch=False
                ),
            },
            max(30, 2_000_000 // rows),
        )
        found |= together(
            {
                "sqlite-vec": lambda turn: plain.query_candidates(queries[turn % 50], K, touch=False),
                "sqlite-vec, filter passes half": lambda turn: plain.query_candidates(
                    queries[turn % 50], K, filter=HALF, touch=False
                ),
            },
            max(10, 100_000 // rows),
        )
    return {
        "target_us": TARGETS_US[rows],
        **{
            name: {
                "best_us": round(best, 1),
                "median_us": round(median, 1),
                "x numpy (best)": round(best / found["numpy"][0], 2),
            }
            for name, (best, median) in found.items()
        },
        "insert_per_s": round(rows / inserted),
        "load_mirror_s": round(loaded, 3),
    }


def routing(folder: Path) -> dict[str, Any]:
    """Records of five shown candidates: made and queued one by one, all durable in the end."""
    count = 100_000

    names, features = [f"memory {rank}" for rank in range(5)], bytes(64)
    ids = [f"8c1f09a2-{number:x}" for number in range(count + 200)]

    def record(number: int) -> RoutingRecord:
        shown = tuple([ShownCandidate(name, rank, 0.5, None, features) for rank, name in enumerate(names)])
        return RoutingRecord(
            ids[number],
            "candidates",
            "memory 0",
            1.75e9 + number,
            "1.0.0",
            "0123456789abcdef" * 2,
            shown=shown,
            confidence=0.9,
            cost=0.001,
            baseline_cost=0.01,
            latency_us=14.0,
            reason="learned",
        )

    records = [record(number) for number in range(count)]
    made, queued = [], []
    with SqliteStorage(folder / "routing.db", queue_capacity=count) as storage:
        start = time.perf_counter()
        for each in records:
            before = time.perf_counter()
            storage.record_routing(each)
            queued.append((time.perf_counter() - before) * 1e6)
        storage.flush()
        seconds = time.perf_counter() - start
        stored = storage.get_statistics().routes
        for number in range(20_000):
            before = time.perf_counter()
            record(number)
            made.append((time.perf_counter() - before) * 1e6)
        one_by_one = []
        for number in range(200):
            before = time.perf_counter()
            storage.record_routing(record(count + number), wait=True)
            one_by_one.append((time.perf_counter() - before) * 1e6)
    assert stored == count
    return {
        "records": count,
        "durable_per_s": round(count / seconds),
        "queue_us": {name: round(float(np.quantile(queued, q)), 2) for name, q in (("p50", 0.5), ("p99", 0.99))},
        "make_record_us": {
            name: round(float(np.quantile(made, q)), 2) for name, q in (("p50", 0.5), ("p99", 0.99))
        },
        "durable_one_by_one_us_p50": round(float(np.median(one_by_one)), 1),
        "targets": {"durable_per_s": 20_000, "added_to_a_decision_us": 10},
    }


def main() -> None:
    """Three sizes, then routing records."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {f"{rows:,} x {DIMENSION}, k = {K}": nearest(rows, folder) for rows in TARGETS_US}
        figures["record_routing"] = routing(folder)
    write("storage", figures, "Searches are exact, from Python, and look at the table's change count each time.")


if __name__ == "__main__":
    main()
