"""What sums and percentiles over a million requests take, and what writers notice of it.

    python benchmarks/micro/bench_analytics.py [--requests 1000000] [--rounds 3]

Times of searches are of processor. Each is also a multiple of `SELECT count(*)` and of reading one column of all
rows (`SELECT sum(latency)`), taken in turn with them in the same run: a slower machine moves both.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import apsw

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import write
from tiny_dancer.storage import Feedback, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable

START, SPAN = 1.76e9, 30 * 86_400.0
MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet", "claude-haiku", "llama-3", "")


def records(first: int, count: int, of: int, draw: random.Random) -> list[RequestRecord]:
    """Of a month, six models, 50 keys, 5,000 users; one in a hundred failed."""
    found = []
    for number in range(first, first + count):
        model = draw.choices(MODELS, (20, 40, 10, 10, 19, 1))[0]
        cost = draw.random() * 1e-3
        found.append(
            RequestRecord(
                id=f"{draw.getrandbits(128):032x}",
                time=START + number * SPAN / of,
                endpoint="chat.completions",
                key=f"key-{draw.randrange(50)}",
                asked="auto",
                status=200 if model else 502,
                model=model,
                upstream="openai",
                response_id=f"chatcmpl-{draw.getrandbits(96):024x}",
                decision_id=f"8c1f09a2-{number:x}",
                router="default",
                routed_by="learned",
                reason="gain_worth_cost",
                confidence=draw.random(),
                attempts=1,
                input_tokens=draw.randrange(4000),
                output_tokens=draw.randrange(900),
                cost=cost,
                baseline_cost=3 * cost,
                latency=draw.lognormvariate(0, 1),
                ttft=draw.random(),
                user=f"user-{draw.randrange(5000)}",
                team=f"team-{draw.randrange(8)}",
                tags=("eu", "batch") if draw.random() < 0.2 else (),
                error="" if model else "bad_gateway",
            )
        )
    return found


def seconds(action: Callable[[], object]) -> float:
    """Of processor, of one call: other programs do not lengthen it much."""
    start = time.process_time()
    action()
    return time.process_time() - start


def writes(storage: SqliteStorage, draw: random.Random, done: threading.Event) -> list[float]:
    """Milliseconds of one commit of 50 requests each, one after the other, with pauses as a gateway makes."""
    taken: list[float] = []
    while not done.wait(0.02):
        batch = records(0, 50, 1, draw)
        start = time.perf_counter()
        storage.record_requests(batch)
        taken.append(1000 * (time.perf_counter() - start))
    return taken


def beside(storage: SqliteStorage, work: Callable[[], object]) -> list[float]:
    """What commits take while ``work`` runs in another thread."""
    done = threading.Event()

    def run() -> None:
        work()
        done.set()

    worker = threading.Thread(target=run)
    worker.start()
    taken = writes(storage, random.Random(1), done)
    worker.join()
    return taken


def main() -> None:
    """Times by what is summed up, memory, and commits beside it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count, rounds = options.requests, options.rounds
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder, SqliteStorage(Path(folder) / "a.db", mirror=False) as storage:
        for first in range(0, count, 5000):
            storage.record_requests(records(first, min(5000, count - first), count, draw))
        for number in range(0, count, max(count // 500, 1)):
            storage.record_feedback(Feedback(f"8c1f09a2-{number:x}", draw.random(), time=START))
        plain = apsw.Connection(str(storage.path), flags=apsw.SQLITE_OPEN_READONLY)
        day = START + SPAN - 86_400
        asked: dict[str, dict[str, Any]] = {
            "all": {},
            "by model": {"by": "model"},
            "by day": {"by": "day"},
            "by model and day": {"by": ("model", "day")},
            "by key": {"by": "key"},
            "by user (5,000)": {"by": "user"},
            "by tag": {"by": "tag"},
            "one team": {"where": {"team": "team-3"}},
            "by model, last day": {"by": "model", "since": day},
        }
        searches: dict[str, Callable[[], object]] = {
            "SELECT count(*)": lambda: plain.execute("SELECT count(*) FROM request").get,
            "SELECT sum(latency)": lambda: plain.execute("SELECT sum(latency) FROM request").get,
        }
        for name, words in asked.items():
            for percentiles in (False, True):
                label = f"{name}{', percentiles' if percentiles else ''}"
                searches[label] = lambda words=words, with_them=percentiles: storage.request_summary(  # type: ignore[misc]
                    **words, percentiles=with_them
                )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        taken: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, search in searches.items():
                taken.setdefault(name, []).append(seconds(search))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        scan = median(taken["SELECT sum(latency)"])
        counted = median(taken["SELECT count(*)"])
        alone = beside(storage, lambda: time.sleep(5))
        together = beside(storage, lambda: [storage.request_summary(by=("model", "day")) for _ in range(2)])
        plain.close()
    table = {
        name: {
            "cpu_s": round(median(values), 3),
            "x count(*)": round(median(values) / counted, 1),
            "x sum(latency)": round(median(values) / scan, 1),
        }
        for name, values in taken.items()
    }
    for name, row in table.items():
        print(f"{name:36} {row['cpu_s']:8.3f} s {row['x count(*)']:8.1f} x {row['x sum(latency)']:6.1f} x")
    commits = {
        name: {"commits": len(values), "median_ms": round(median(values), 2), "most_ms": round(max(values), 2)}
        for name, values in (("alone", alone), ("beside sums by model and day", together))
    }
    print(commits, f"memory grew by {grown:.0f} MiB")
    write(
        "analytics",
        {
            "requests": count,
            "rounds": rounds,
            "searches": table,
            "commits_of_50": commits,
            "memory_grown_mib": round(grown, 1),
        },
        f"SQLite, {count:,} requests of 30 days, warm; percentiles are exact. Times of searches are of processor; "
        "commits are durable.",
    )


if __name__ == "__main__":
    main()
