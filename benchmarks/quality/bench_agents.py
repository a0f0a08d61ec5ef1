"""What policies over agents are worth on real tables, what a batch saves, and how soon a boast is found out.

    python benchmarks/quality/bench_agents.py

Each table is split in two, a few times. The registry observes quality and cost of every model on one part, and
a request router is trained on it (what times are is not told, so balanced weighs none); policies are judged on
the other, with that router's quality per request. A policy is *beaten* where another of those tried reaches no
less quality for no more money, and one of them is better; the bootstrap (1,000 draws of rows) says how often
that is so. One by one: the cheapest agent whose expected quality reaches a number, on each request (the best
where none does).

Of llmrouter nobody has logged costs. There a request costs as many tokens as it has and 256 more, times a price by
size: 0.02 USD a million tokens for every billion parameters, about what open models cost to have served.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import draw, table, write
from tiny_dancer import Agent, AgentRegistry, AgentRouter, Router, fit
from tiny_dancer.errors import NoFeasibleModelError
from tiny_dancer.routing.agents import assign

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer import Outcomes

    Floats = npt.NDArray[np.float64]

SPLITS = {"bfcl": 3, "llmrouter": 1}
BILLIONS = {
    "llama3-chatqa-1.5-8b": 8,
    "qwen2.5-7b-instruct": 7,
    "llama3-chatqa-1.5-70b": 70,
    "llama-3.1-nemotron-51b-instruct": 51,
    "mistral-7b-instruct-v0.3": 7,
    "gemma-2-9b-it": 9,
    "llama-3.1-8b-instruct": 8,
    "codegemma-7b": 7,
    "llama-3.3-nemotron-super-49b-v1": 49,
}
NOW = 1_790_000_000.0
DRAWS = 1000
NAMED = ("cost", "quality", "balanced", "quality_per_dollar")
WEIGHTS = np.geomspace(1, 10_000, 9)
LEAST = {"bfcl": (0.8, 0.85, 0.9), "llmrouter": (0.5, 0.6, 0.7, 0.8)}


def registry(outcomes: Outcomes, rows: npt.NDArray[np.int64], models: list[int]) -> AgentRegistry:
    """Models as agents that declare nothing, observed on these rows."""
    found = AgentRegistry(
        [Agent(outcomes.models[each], output_tokens=None) for each in models], clock=lambda: NOW, half_life_s=None
    )
    assert outcomes.cost is not None
    for model in models:
        for row in rows:
            quality, cost = outcomes.quality[row, model], outcomes.cost[row, model]
            if np.isfinite(quality):
                spent = float(cost) if np.isfinite(cost) else None
                found.observe(outcomes.models[model], quality=float(np.clip(quality, 0, 1)), cost=spent)
    return found


def chosen(
    router: AgentRouter, names: list[str], scores: Floats, policy: str, **asked: Any
) -> npt.NDArray[np.int64]:
    """The agent of each request by one policy, with the trained router's qualities."""
    query = router._query(policy, (), None, (), None, None, asked.get("min_quality"), (), (), None, None,
                          asked.get("weights"), 0.9, None)  # fmt: skip
    engine, place = router.registry.engine, {name: at for at, name in enumerate(names)}
    rows = []
    for each in scores:
        try:
            choice = engine.choose(query, 0.0, NOW, None, 0.0, list(zip(names, each.tolist(), strict=True)))
            rows.append(place[choice.agent])
        except NoFeasibleModelError:
            rows.append(int(each.argmax()))
    return np.array(rows)


def one(outcomes: Outcomes, table_name: str, seed: int) -> dict[str, Any]:
    """One split."""
    assert outcomes.cost is not None and outcomes.features is not None
    models = [each for each in range(len(outcomes.models)) if np.isfinite(outcomes.cost[:, each]).mean() > 0.9]
    train, test = draw(outcomes, len(outcomes) // 2, seed)
    names = [outcomes.models[each] for each in models]
    router = AgentRouter(registry(outcomes, train, models))
    batch = Router(fit(outcomes.rows(train)).artifact).route_features(outcomes.features.rows(test))
    scores = np.clip(batch.scores.astype(np.float64)[:, models], 0, 1)
    means = np.nanmean(outcomes.cost[train][:, models], axis=0)
    priced = batch.costs[:, models].astype(np.float64)
    priced = np.where(np.isfinite(priced), priced, means)
    quality = np.nan_to_num(outcomes.quality[test][:, models])
    cost = np.where(np.isfinite(outcomes.cost[test][:, models]), outcomes.cost[test][:, models], means)
    rows = np.arange(len(test))
    tried: dict[str, npt.NDArray[np.int64]] = {name: np.full(len(test), at) for at, name in enumerate(names)}
    tried |= {name: chosen(router, names, scores, name) for name in NAMED}
    for weight in WEIGHTS:
        weights = {"quality": 1.0, "cost": float(weight)}
        tried[f"quality - {weight:.0f} USD"] = chosen(router, names, scores, "weights", weights=weights)
    tried["at random"] = np.random.default_rng(seed).integers(0, len(names), len(test))
    points = {name: (cost[rows, choice], quality[rows, choice]) for name, choice in tried.items()}
    samples = np.random.default_rng(0).integers(0, len(test), (DRAWS, len(test)))
    spent = {name: each[0][samples].mean(1) for name, each in points.items()}
    reached = {name: each[1][samples].mean(1) for name, each in points.items()}
    front: dict[str, Any] = {}
    for name in ("balanced", "quality_per_dollar"):
        here = (points[name][0].mean(), points[name][1].mean())
        beaten_by = {}
        for other, (dear, good) in points.items():
            if np.array_equal(tried[other], tried[name]):
                continue
            if dear.mean() <= here[0] and good.mean() >= here[1]:
                often = (spent[other] <= spent[name]) & (reached[other] >= reached[name])
                beaten_by[other] = round(float(often.mean()), 3)
        front[name] = {
            "USD a request": float(f"{here[0]:.4g}"),
            "quality": round(float(here[1]), 4),
            "on the front": not beaten_by,
            "beaten by, and in which share of draws": beaten_by,
        }
    return {
        "rows": len(test),
        "policies tried": {
            name: [float(f"{each[0].mean():.4g}"), round(float(each[1].mean()), 4)]
            for name, each in points.items()
        },
        "front": front,
        "batch": [together(scores, priced, quality, cost, least) for least in LEAST[table_name]],
    }


def together(scores: Floats, expected: Floats, quality: Floats, cost: Floats, least: float) -> dict[str, Any]:
    """A batch beside one by one, at the same mean quality: expected, and reached.

    What is reached lies below what is expected, and more so where choices are freer. So batches are made for many
    qualities, and of those that reach what one by one has reached, the cheapest is compared, in each draw anew.
    """
    rows = np.arange(len(scores))
    able = np.where(scores >= least, expected, np.inf)
    alone = np.where(np.isfinite(able).any(1), able.argmin(1), scores.argmax(1))
    target = float(scores[rows, alone].mean())
    found = assign(scores, expected, min_mean_quality=target)
    samples = np.random.default_rng(1).integers(0, len(rows), (DRAWS, len(rows)))
    spent, reached = cost[rows, alone], quality[rows, alone]
    highest = float(scores.max(1).mean())
    lowest = float(scores[rows, expected.argmin(1)].mean())
    batches = [
        assign(scores, expected, min_mean_quality=each).columns for each in np.linspace(lowest, highest - 1e-6, 40)
    ]
    many_spent = np.array([cost[rows, columns][samples].sum(1) for columns in batches])
    many_reached = np.array([quality[rows, columns][samples].mean(1) for columns in batches])
    enough = many_reached >= reached[samples].mean(1)
    cheapest = np.where(enough, many_spent, np.inf).min(0)
    equal = 1 - cheapest / spent[samples].sum(1)
    plain = 1 - cost[rows, found.columns][samples].sum(1) / spent[samples].sum(1)

    def interval(values: Floats) -> list[float]:
        return [round(float(each), 4) for each in (np.median(values), *np.quantile(values, [0.025, 0.975]))]

    return {
        "one by one at least": least,
        "mean quality, expected and reached": [round(target, 4), round(float(reached.mean()), 4)],
        "share of the cost saved at equal quality reached: median, 95 %": interval(equal[np.isfinite(equal)]),
        "draws in which no batch reached as much": int((~np.isfinite(equal)).sum()),
        "share of the cost saved at equal quality expected: median, 95 %": interval(plain),
        "quality gained at equal quality expected: median, 95 %": interval(
            (quality[rows, found.columns] - reached)[samples].mean(1)
        ),
        "gap to the linear programme": float(f"{found.gap:.2g}"),
    }


def boast(true: float, declared: float, other: float, seed: int) -> tuple[int, float]:
    """(Outcomes of an agent that declared more than is true, in 200 requests; regret over them)."""
    chance = random.Random(seed)
    agents = AgentRegistry(
        [Agent("boast", quality=declared), Agent("known", quality=other, prior_weight=100.0)],
        clock=lambda: NOW,
        half_life_s=None,
    )
    router = AgentRouter(agents)
    outcomes = 0
    for _ in range(200):
        name = router.route("x", "quality", input_tokens=1).agent
        if name == "boast":
            outcomes += 1
        agents.observe(name, quality=float(chance.random() < (true if name == "boast" else other)))
    return outcomes, outcomes * (other - true)


def boasts() -> dict[str, Any]:
    """Boasts of .3 by how far behind they really are."""
    found = {}
    for true, other in ((0.5, 0.7), (0.6, 0.7), (0.6, 0.75), (0.4, 0.65)):
        runs = [boast(true, true + 0.3, other, seed) for seed in range(200)]
        outcomes = np.array([run[0] for run in runs])
        found[f"true {true}, declared {true + 0.3:.1f}, another {other}"] = {
            "outcomes until found out: median, 95 %, most": [
                int(np.median(outcomes)), int(np.quantile(outcomes, 0.95)), int(outcomes.max()),
            ],
            "share within 60": round(float((outcomes <= 60).mean()), 3),
            "regret over 200 requests, wholly good answers: mean, 95 %": [
                round(float(np.mean([run[1] for run in runs])), 2),
                round(float(np.quantile([run[1] for run in runs], 0.95)), 2),
            ],
        }  # fmt: skip
    return found


def main() -> None:
    """Prints and writes the figures."""
    result: dict[str, Any] = {}
    for name, splits in SPLITS.items():
        outcomes = table(name)
        if outcomes is not None and outcomes.cost is None:
            assert outcomes.features is not None
            prices = np.array([BILLIONS[model] for model in outcomes.models]) * 0.02e-6
            outcomes = replace(outcomes, cost=(outcomes.features.tokens[:, None] + 256.0) * prices)
        if outcomes is not None:
            result[name] = [one(outcomes, name, seed) for seed in range(splits)]
    result["an agent that declares .3 too much"] = boasts()
    write(
        "agents",
        result,
        "Policies over agents: [USD a request, quality] of each; what a batch saves; when a boast is found out.",
    )


if __name__ == "__main__":
    main()
