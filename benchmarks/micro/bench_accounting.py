"""What accounting costs a request: CPU of one `put`, and of the whole way into SQLite, sinks and threads included.

    python benchmarks/micro/bench_accounting.py

CPU is of the whole process, so what the threads take is in it; as multiples of the yardstick, numpy
`(100, 384) @ (384,)`, of the same run, taken in turn. Batches are what comes together before accounting writes, at
so many requests a second.
"""

from __future__ import annotations

import random
import secrets
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer.gateway.account.background import ENOUGH, PATIENCE, Accounting
from tiny_dancer.storage import MemoryStorage, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 15
START = 1.76e9


def records(count: int, first: int, scores: dict[str, float] | None = None) -> list[RequestRecord]:
    """As a gateway makes them: ids of the upstream are random, those of decisions count up."""
    draw = random.Random(first)
    return [
        RequestRecord(
            id=f"{draw.getrandbits(128):032x}",
            time=START + number / 1000,
            endpoint="chat.completions",
            key="a1b2c3d4e5f6",
            asked="auto",
            status=200,
            model="gpt-4o-mini",
            upstream="openai",
            response_id=f"chatcmpl-{draw.getrandbits(96):024x}",
            decision_id=f"8c1f09a2-{number:x}",
            router="default",
            routed_by="learned",
            reason="gain_worth_cost",
            confidence=0.91,
            scores=scores,
            session="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
            attempts=1,
            input_tokens=30,
            output_tokens=120,
            cost=7.65e-5,
            baseline_cost=1.275e-3,
            latency=0.81,
            ttft=0.2,
            query_hash="0123456789abcdef0123456789abcdef",
        )
        for number in range(first, first + count)
    ]


def cpu(action: Callable[[], object]) -> float:
    """Microseconds of CPU, of all threads."""
    start = time.process_time_ns()
    action()
    return (time.process_time_ns() - start) / 1000


class Nowhere(MemoryStorage):
    """Takes records and keeps none: what is left is the cost of `put` and the threads."""

    def record_requests(self, records: Sequence[RequestRecord]) -> None:
        del records


def main() -> None:
    """`put` alone, then records a second into SQLite, in turn with the yardstick."""
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((100, 384)).astype(np.float32)
    vector = generator.standard_normal(384).astype(np.float32)
    taken: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        taken.setdefault(name, []).append(value)

    def put(accounting: Accounting, batch: list[RequestRecord]) -> None:
        for record in batch:
            accounting.put(record)

    def account(accounting: Accounting, batches: list[list[RequestRecord]]) -> None:
        for batch in batches:
            put(accounting, batch)
            assert accounting.flush()

    with tempfile.TemporaryDirectory() as folder, SqliteStorage(Path(folder) / "gateway.db") as storage:
        first = 0
        # Pages of a database that has been in use for a while.
        storage.record_requests(records(50_000, first))
        first += 50_000
        for _ in range(ROUNDS):
            note("numpy", cpu(lambda: [matrix @ vector for _ in range(1000)]) / 1000)
            # Without a thread in between: an interval of an hour.
            with Accounting(Nowhere(), interval=3600) as accounting:
                batch = records(20_000, first)
                note("put", cpu(partial(put, accounting, batch)) / 20_000)
            for rate in (100, 1_000, 6_000):
                # Looked at every 50 ms.
                size = int(rate * min(PATIENCE, max(ENOUGH / rate, 0.05)))
                for name, scores in (("", None), (", with scores", {"gpt-4o": 0.9, "gpt-4o-mini": 0.7})):
                    batches = [records(size, first + place * size, scores) for place in range(2000 // size)]
                    first += size * len(batches)
                    with Accounting(storage, interval=3600) as accounting:
                        used = cpu(partial(account, accounting, batches)) / size / len(batches)
                    note(f"put and stored, {rate:,} requests/s{name}", used)
        with Accounting(storage) as accounting:
            start = time.process_time_ns()
            time.sleep(2)
            idle = (time.process_time_ns() - start) / 2e9
        assert storage.verify().requests == first
        lookups: dict[str, float] = {}
        searched: dict[str, Callable[[], Any]] = {
            "a response's request": lambda: storage.request_history(response_id=secrets.token_hex(4)),
            "spend of the day, by key": lambda: storage.spend(since=START // 86_400 * 86_400),
            "summary by model": lambda: storage.request_summary(by="model"),
        }
        for name, search in searched.items():
            lookups[f"{name}, {first:,} requests stored"] = round(median(cpu(search) for _ in range(9)) / 1000, 3)
    yardstick = median(taken["numpy"])
    write(
        "accounting",
        {
            "cpu": {
                name: {
                    "best_us": round(min(values), 3),
                    "median_us": round(median(values), 3),
                    "x numpy (median)": round(median(values) / yardstick, 2),
                }
                for name, values in taken.items()
            },
            "idle_share_of_a_core": round(idle, 5),
            "searches_cpu_ms": lookups,
            "targets": {"stored_us_a_record_in_batches_of_100": 6},
        },
        "CPU of the process, all its threads; commits are durable (synchronous = FULL).",
    )


if __name__ == "__main__":
    main()
