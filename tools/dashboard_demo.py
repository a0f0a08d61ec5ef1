"""A database of some weeks of requests that nobody sent, for pictures of the dashboard and to look at it.

Everything in it is drawn with one seed: two routers, five models, three keys, a bad afternoon of one upstream.

    python tools/dashboard_demo.py FOLDER     writes gateway.db there
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tiny_dancer.budgets import Budgets
from tiny_dancer.gateway.access.keys import NewKey, make_key
from tiny_dancer.gateway.configuration.settings import GatewayConfig
from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.gateway.upstream.tariff import Tariff
from tiny_dancer.storage import Agent, AgentOutcome, Budget, Feedback, SqliteStorage
from tiny_dancer.types import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_796_043_600.0  # 2026-11-30 13:00 UTC
DAY = 86_400.0
MONTH = NOW - 29.0 * DAY - 13 * 3600  # its first moment
MODELS = {
    # Share of the traffic, USD per million tokens in and out, seconds, expected quality.
    "swift-mini": (0.52, 0.15, 0.6, 0.7, 0.71),
    "swift-large": (0.2, 2.5, 10.0, 1.9, 0.83),
    "reasoner": (0.08, 5.0, 25.0, 7.5, 0.9),
    "local-8b": (0.15, 0.02, 0.05, 0.9, 0.62),
    "embedder": (0.05, 0.02, 0.0, 0.12, 0.0),
}
STRONGEST = "reasoner"


def config(storage: str = "gateway.db") -> GatewayConfig:
    """The configuration those requests would have been served by."""
    upstreams = {"here": {"base_url": "http://127.0.0.1:9/v1"}, "there": {"base_url": "http://127.0.0.1:9/v1"}}
    models = {
        name: {
            "deployments": [{"upstream": "here" if name == "local-8b" else "there"}],
            "input_cost_per_token": price_in / 1e6,
            "output_cost_per_token": price_out / 1e6,
        }
        for name, (_, price_in, price_out, _, _) in MODELS.items()
    }
    return msgspec.convert({"storage": storage, "upstreams": upstreams, "models": models}, GatewayConfig)


def keys() -> list[NewKey]:
    """An operator's and three clients', two of them with budgets."""
    rng_day = NOW - 40 * DAY
    return [
        make_key("operations", operator=True, now=rng_day),
        make_key("support-bot", monthly_budget=60.0, now=rng_day),
        make_key("research", max_budget=25.0, budget_duration="1w", cheaper_when_spent=True, now=rng_day),
        make_key("website", daily_budget=5.0, now=rng_day),
    ]


def records(
    clients: list[str], *, days: float = 30.0, count: int = 20_000, seed: int = 7
) -> Iterator[RequestRecord]:
    """Requests of so many days before :data:`NOW`, more by day than by night and on workdays."""
    rng = random.Random(seed)
    tariffs = {name: Tariff(model) for name, model in config().models.items()}
    teams = dict(zip(clients, ("support", "research", "web"), strict=True))
    number = 0
    while number < count:
        time = NOW - rng.random() * days * DAY
        hour, weekday = time / 3600 % 24, int(time // DAY + 4) % 7
        if rng.random() > (0.25 + 0.75 * math.exp(-((hour - 13.5) ** 2) / 22)) * (
            0.45 if weekday in (0, 6) else 1
        ):
            continue
        number += 1
        name = rng.choices(list(MODELS), [each[0] for each in MODELS.values()])[0]
        _, _, _, seconds, _quality = MODELS[name]
        routed = name != "embedder" and rng.random() < 0.86
        bad = name == "swift-large" and 3.1 * DAY < NOW - time < 3.4 * DAY and rng.random() < 0.5
        failed = (bad and rng.random() < 0.35) or rng.random() < 0.004
        served = "reasoner" if bad and not failed else name
        prompt = int(rng.lognormvariate(6.4, 0.9))
        answer = 0 if name == "embedder" or failed else int(rng.lognormvariate(5.3, 0.8))
        usage = Usage(prompt, answer)
        easy = rng.random()
        scores = {
            each: round(min(max(0.97 * (one[4] + 0.3 * (0.5 - easy) * (1 - one[4])), 0.02), 0.99), 4)
            for each, one in MODELS.items()
            if each != "embedder"
        }
        latency = rng.lognormvariate(math.log(seconds), 0.45) * (2.2 if bad else 1.0)
        client = rng.choices(clients, [5, 3, 2])[0]
        yield RequestRecord(
            id=f"req-{number:06d}",
            time=time,
            endpoint="embeddings" if name == "embedder" else "chat.completions",
            key=client,
            asked="auto" if routed else name,
            status=502 if failed else 200,
            error="upstream_error" if failed else "",
            model="" if failed else served,
            upstream="" if failed else "here" if served == "local-8b" else "there",
            decision_id=f"dec-{number:06d}" if routed else None,
            router="default" if routed and number % 5 else "support" if routed else "",
            routed_by="learned" if routed else "client",
            reason=("gain_too_small" if scores[name] < 0.8 else "gain_worth_cost") if routed and not bad else
            "the breaker of swift-large is open" if bad else "",
            confidence=round(min(max(rng.betavariate(6, 2.2), 0), 1), 4) if routed else None,
            scores=scores if routed else None,
            attempts=2 if bad else 1,
            fallbacks=1 if bad and not failed else 0,
            input_tokens=prompt,
            output_tokens=answer,
            team=teams[client],
            cost=None if failed else tariffs[served].cost(usage),
            baseline_cost=None if failed else tariffs[STRONGEST if routed else served].cost(usage),
            latency=latency,
            ttft=None if failed else 0.2 * latency,
            artifact_version="3" if routed else "",
        )  # fmt: skip


def feedback(rows: list[RequestRecord], seed: int = 11) -> Iterator[Feedback]:
    """Thumbs about one request in nine, up as often as was expected, and a little less."""
    rng = random.Random(seed)
    for row in rows:
        if row.decision_id is not None and row.scores is not None and row.model and rng.random() < 0.11:
            expected = row.scores[row.model]
            up = rng.random() < expected * (0.94 if expected < 0.7 else 1.0)
            yield Feedback(row.decision_id, float(up), time=row.time + 60)


def write(path: Path, *, count: int = 20_000) -> str:
    """Makes the database; returns the operator's secret."""
    made = keys()
    with SqliteStorage(path, mirror=False) as storage:
        for each in made:
            storage.insert_api_key(each.key)
        rows = list(records([each.key.id for each in made[1:]], count=count))
        for start in range(0, len(rows), 2000):
            storage.record_requests(rows[start : start + 2000])
        for given in feedback(rows):
            storage.record_feedback(given)
        storage.insert_budget(Budget("team", "research", limit=16.0, period="month", created_at=NOW - 40 * DAY))
        storage.insert_budget(
            Budget("all", limit=90.0, period="rolling 30d", kind="soft", created_at=NOW - 40 * DAY)
        )
        with Budgets(storage, clock=lambda: NOW) as budgets:
            month = [row for row in rows if row.time >= MONTH]
            budgets.charge(sum(row.cost or 0.0 for row in month if row.team == "research"), team="research")
        agents = (
            Agent("writer", description="Drafts and edits text.", quality=0.8, latency_s=2.0),
            Agent("billing-api", type="api", description="Looks up invoices.", success_rate=0.99, latency_s=0.2),
        )
        storage.insert_agents(agents, at=NOW)
        rng = random.Random(13)
        for place in range(60 if count else 0):
            name, good, seconds = (("writer", 0.82, 2.1), ("billing-api", 0.97, 0.24))[place % 2]
            done = rng.random() < good + 0.1
            outcome = AgentOutcome(
                name,
                NOW - 600 * place,
                quality=good if done else None,
                success=done,
                latency_s=seconds * rng.uniform(0.7, 1.5),
            )
            storage.record_agent_outcome(outcome, half_life_s=None)
    return made[0].secret


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) / "gateway.db"))
