"""How long agents take: choosing among 10 and 500, searching 500 cards, assigning 10,000 requests to 20.

    python benchmarks/micro/bench_agents.py

One call from Python at a time, single thread, best of several runs, as other work on the machine only ever adds.
Beside each stands how many times as long as a yardstick it takes, SHA-256 of 4,096 bytes, which says more on a
busy machine. The cards are the 60 of benchmarks/data/agent_requests.json among 440 of Seal-Tools; what searches
find is in benchmarks/quality/bench_agent_search.py. The linear programme is HiGHS' (scipy).
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import Agent, AgentRegistry, AgentRouter
from tiny_dancer.routing.agents import assign

if TYPE_CHECKING:
    from collections.abc import Callable

CARDS = json.loads((Path(__file__).parents[1] / "data" / "agent_requests.json").read_text(encoding="utf-8"))
REQUEST = "Sum this report up in five sentences for somebody who has not read it."


def best_us(work: Callable[[], object], times: int, runs: int = 7) -> float:
    """Microseconds of one call: the best mean of several runs."""
    work()
    found = np.inf
    for _ in range(runs):
        start = time.perf_counter()
        for _ in range(times):
            work()
        found = min(found, time.perf_counter() - start)
    return round(found / times * 1e6, 2)


def processor_ms(work: Callable[[], object], runs: int = 9) -> float:
    """Milliseconds of the processor that one call takes: the least of several, whatever else runs."""
    found = np.inf
    for _ in range(runs):
        start = time.process_time()
        work()
        found = min(found, time.process_time() - start)
    return round(found * 1e3, 1)


def yardstick() -> float:
    """Microseconds of SHA-256 of 4,096 bytes."""
    block = bytes(4096)
    return best_us(lambda: hashlib.sha256(block).digest(), 500)


def beside(times: dict[str, float]) -> dict[str, Any]:
    """Microseconds, and multiples of the yardstick measured just then."""
    unit = yardstick()
    return {
        "us": times,
        "multiples of the yardstick": {name: round(time / unit, 2) for name, time in times.items()},
    }


def registry(agents: int) -> AgentRegistry:
    """Agents with everything that may be declared, half of which have outcomes."""
    draw = np.random.default_rng(agents)
    made = AgentRegistry(
        [
            Agent(
                f"agent {place}",
                capabilities=("summarise", "code") if place % 2 else ("summarise",),
                tags=("gdpr",) if place % 3 else (),
                region="eu" if place % 5 else "us",
                quality=float(draw.uniform(0.5, 0.95)),
                input_cost_per_1k=float(draw.uniform(0.001, 0.05)),
                output_cost_per_1k=0.05,
                latency_s=float(draw.uniform(0.1, 3)),
                latency_p99_s=10.0,
                context=100_000,
            )
            for place in range(agents)
        ]
    )
    for place in range(0, agents, 2):
        made.observe(
            f"agent {place}", quality=float(draw.random() < 0.7), latency_ms=900, cost=0.01, task="summarise"
        )
    return made


def choosing(agents: int) -> dict[str, float]:
    """Microseconds of a choice by what is asked."""
    router = AgentRouter(registry(agents))
    times = 20_000 // agents
    constraints: dict[str, Any] = {
        "required_capabilities": ("summarise",),
        "tags": ("gdpr",),
        "region": "eu",
        "max_cost": 0.03,
        "max_latency_ms": 2500,
        "min_quality": 0.4,
        "excluded": ("agent 1",),
    }
    return {
        "nothing asked": best_us(lambda: router.route(REQUEST), times),
        "constraints": best_us(lambda: router.route(REQUEST, "balanced", **constraints), times),
        "constraints, answer read": best_us(
            lambda: (lambda c: (c.agent, c.estimated_cost, c.confidence, c.removed, c.reason))(
                router.route(REQUEST, "balanced", **constraints)
            ),
            times,
        ),
    }


def searching() -> dict[str, Any]:
    """Time of searches among 500 cards."""
    from tiny_dancer.training.tools.data import read_tools

    agents = [Agent.from_mapping(each) for each in CARDS["agents"]]
    others = read_tools(SHARED / "tools_seal.parquet")
    names = {agent.name for agent in agents}
    for schema in map(json.loads, others.schemas):
        if len(agents) == 500:
            break
        if schema["name"] not in names:
            names.add(schema["name"])
            agents.append(Agent(schema["name"], type="tool", description=schema.get("description", "")))
    found = AgentRegistry(agents)
    texts = [each["request"] for each in CARDS["requests"]]
    times = [best_us(lambda text=text: found.search(text, 3), 50, 5) for text in texts]
    return {
        "cards": len(agents),
        "text to three, us, median": round(float(np.median(times)), 1),
        "text to three, us, 90th percentile": round(float(np.quantile(times, 0.9)), 1),
        "median, multiples of the yardstick": round(float(np.median(times)) / yardstick(), 2),
    }


def assigning() -> dict[str, Any]:
    """Time and gap of assignments of 10,000 requests to 20 agents."""
    rows, columns = 10_000, 20
    draw = np.random.default_rng(1)
    quality = np.clip(np.sort(draw.uniform(0.4, 0.9, columns)) + draw.normal(0, 0.15, (rows, columns)), 0, 1)
    cost = np.exp(np.linspace(-8, -3, columns)) * draw.lognormal(0, 0.5, (rows, 1))
    cases: dict[str, dict[str, Any]] = {
        "least cost at mean quality .9": {"min_mean_quality": 0.9},
        "the same at .85, capacities of 7 %": {"min_mean_quality": 0.85, "capacities": [700] * columns},
        "the same at .8, capacities that are just enough": {
            "min_mean_quality": 0.8,
            "capacities": [500] * columns,
        },
        "highest quality for 30 USD": {"optimize_for": "quality", "budget": 30.0},
        "the same for 60 USD, capacities of 6 %": {
            "optimize_for": "quality",
            "budget": 60.0,
            "capacities": [600] * columns,
        },
    }
    found = {}
    for name, asked in cases.items():
        answer = assign(quality, cost, **asked)
        found[name] = {
            "ms": round(best_us(lambda asked=asked: assign(quality, cost, **asked), 1, 5) / 1e3, 1),
            "processor time, ms": processor_ms(lambda asked=asked: assign(quality, cost, **asked)),
            "gap": float(f"{answer.gap:.2g}"),
            "cost, USD": round(answer.cost, 4),
            "mean quality": round(answer.quality, 6),
        }
    return found


def main() -> None:
    """Prints and writes the figures."""
    result = {
        "yardstick, us": yardstick(),
        "choosing among 10": beside(choosing(10)),
        "choosing among 500": beside(choosing(500)),
        "searching": searching(),
        "assigning 10,000 requests to 20 agents": assigning(),
    }
    write("agents_speed", result, "Choosing, searching and assigning agents: one thread, best of several runs.")


if __name__ == "__main__":
    main()
