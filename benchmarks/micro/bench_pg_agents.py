"""What choosing an agent costs in PostgreSQL, beside the engine called from Python over the same agents.

    python benchmarks/micro/bench_pg_agents.py

Processor time of the backend a choice, the least of some rounds: of many choices in one statement, which looks at
the agents once; of a statement of its own, which looks at them again; and where an agent has changed since, so
that the engine's registry is brought up to date first. Half a minute.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]
from doors.postgres import processor_time  # noqa: E402
from tests.integration.pg_cluster import database  # noqa: E402

from common import write  # noqa: E402
from tiny_dancer import Agent, AgentRegistry, _core  # noqa: E402
from tiny_dancer.postgres import PostgresStorage  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

AGENTS = (10, 100, 1_000)
ROUNDS = 15
REQUEST = "Sum this up: the meeting was moved to Thursday, and the budget for it is not settled yet."


def main() -> None:
    """Prints and writes the figures."""
    import psycopg

    figures: dict[str, Any] = {}
    for number in AGENTS:
        made = agents(number)
        url = database()
        with PostgresStorage(url) as storage:
            storage.insert_agents(made, at=0.0)
        engine = engine_us(made)
        with psycopg.connect(url, autocommit=True) as connection:
            times = measured(connection, max(20, 20_000 // number))
        figures[f"{number:,} agents"] = {
            "the engine, called from Python, us": round(engine, 2),
            **{
                name: {"us": round(taken, 2), "times the engine": round(taken / engine, 2)}
                for name, taken in times.items()
            },
        }
        print(json.dumps({number: figures[f"{number:,} agents"]}), file=sys.stderr)
    note = "Microseconds of processor time of one choice, the policy balanced, by how many agents are registered."
    write("pg_agents", figures, note)


def agents(number: int) -> list[Agent]:
    """Agents with prices, times and qualities."""
    draw = np.random.default_rng(number)
    return [
        Agent(
            f"agent {place}",
            capabilities=("summarise", "code") if place % 2 else ("summarise",),
            quality=float(draw.uniform(0.5, 0.95)),
            input_cost_per_1k=float(draw.uniform(0.001, 0.05)),
            output_cost_per_1k=0.05,
            latency_s=float(draw.uniform(0.1, 3)),
        )
        for place in range(number)
    ]


def least(work: Callable[[], object], used: Callable[[], float], times: int) -> float:
    """Microseconds of one of so many, in the best round."""
    work()
    found = []
    for _ in range(ROUNDS):
        before = used()
        work()
        found.append(used() - before)
    return min(found) / times * 1e6


def engine_us(made: list[Agent]) -> float:
    """Of a choice by the engine."""
    engine = AgentRegistry(made).engine
    asked = _core.AgentQuery(
        "balanced", (1.0, 10.0, 0.01), [], None, [], [], [], None, (None, None, None), None, 0.9, None
    )
    times = max(20, 20_000 // len(made))
    tokens, now = float(len(REQUEST) // 4), time.time()

    def choose() -> None:
        for _ in range(times):
            found = engine.choose(asked, tokens, now)
            _ = (found.agent, found.confidence, found.reason, found.runner_up, found.quality)

    return least(choose, time.process_time, times)


def measured(connection: psycopg.Connection[Any], times: int) -> dict[str, float]:
    """Of choices in SQL."""
    pid = connection.info.backend_pid

    def used() -> float:
        return processor_time(pid)

    connection.execute("SET max_parallel_workers_per_gather = 0")
    connection.execute(
        "CREATE TABLE asked AS SELECT %s::text AS text FROM generate_series(1, %s)", (REQUEST, times)
    )
    connection.execute("VACUUM ANALYZE asked")

    def many(choice: str) -> Callable[[], object]:
        return lambda: connection.execute(f"SELECT count(({choice}).agent_name) FROM asked")

    def single() -> None:
        for _ in range(times):
            connection.execute("SELECT agent_name FROM tiny_dancer.route(%s)", (REQUEST,), prepare=True)

    change = "UPDATE tiny_dancer.agent SET updated_at = updated_at + 1 WHERE name = 'agent 0'"

    def changed() -> float:
        found = []
        for _ in range(ROUNDS):
            connection.execute(change)
            before = used()
            connection.execute("SELECT agent_name FROM tiny_dancer.route(%s)", (REQUEST,), prepare=True)
            found.append(used() - before)
        return min(found) * 1e6

    return {
        "route, a row of a statement over many": least(many("tiny_dancer.route(text)"), used, times),
        "ruvector_route, likewise": least(many("tiny_dancer.ruvector_route(text)"), used, times),
        "route, a statement of its own": least(single, used, times),
        "route, when an agent has changed": changed(),
    }


if __name__ == "__main__":
    main()
