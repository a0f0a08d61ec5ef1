"""What policies over agents are worth on real tables, what a batch saves, and how soon a boast is found out.

    python benchmarks/quality/bench_agents.py

Each table is split in two, three times. Three quarters of the one half train a request router (the registry
observes them too; what times are is not told, so balanced weighs none), the last quarter calibrates it; policies
are judged on the other half, with that router's quality per request. A policy is *beaten* where another of those
tried reaches no less quality for no more money, and one of them is better; the bootstrap (1,000 draws of rows)
says how often that is so, and it is beaten clear of chance where that is in 97.5 % of the draws. One by one: the
cheapest agent whose expected quality reaches a number, on each request (the best where none does).

A batch is asked for the mean quality that one by one expects. What one of them reaches more than the other is
priced at the batch's multiplier, what a unit of quality costs there: the saving is that of equal quality
reached. How often a batch reaches what was asked for is counted over random batches of 200 requests.

Of llmrouter, mmlu and gsm8k nobody has logged costs. There a request costs as many tokens as it has and 256
more, times a price: of llmrouter by size, 0.02 USD a million tokens for every billion parameters, about what
open models cost to have served; of the others .6 and 20 USD a million tokens, list prices of the two models.
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
from tiny_dancer.routing.agents.held_out import HeldOut

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer import Outcomes
    from tiny_dancer.routing.agents import Assignment

    Floats = npt.NDArray[np.float64]

SPLITS = 3
TABLES = ("bfcl", "llmrouter", "zeroeval", "mmlu", "gsm8k")
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
PAIR_PRICES = {"mixtral-8x7b-instruct-v0.1": 0.6e-6, "gpt-4-1106-preview": 20e-6}
LEAST = {
    "bfcl": (0.8, 0.85, 0.9),
    "llmrouter": (0.5, 0.6, 0.7, 0.8),
    "zeroeval": (0.7, 0.8, 0.9),
    "mmlu": (0.7, 0.8),
    "gsm8k": (0.7, 0.8),
}
BATCH = 200
BATCHES = 40


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


def priced_table(name: str) -> Outcomes | None:
    """A table with what requests cost."""
    outcomes = table(name)
    if outcomes is None or outcomes.cost is not None:
        return outcomes
    assert outcomes.features is not None
    if name == "llmrouter":
        prices = np.array([BILLIONS[model] for model in outcomes.models]) * 0.02e-6
    else:
        prices = np.array([PAIR_PRICES[model] for model in outcomes.models])
    return replace(outcomes, cost=(outcomes.features.tokens[:, None] + 256.0) * prices)


class Split:
    """Half a table to learn from, and half to judge on."""

    def __init__(self, outcomes: Outcomes, seed: int) -> None:
        assert outcomes.cost is not None and outcomes.features is not None
        models = [each for each in range(len(outcomes.models)) if np.isfinite(outcomes.cost[:, each]).mean() > 0.9]
        train, self.test = draw(outcomes, len(outcomes) // 2, seed)
        cut = 3 * len(train) // 4
        self.fitted, self.held = train[:cut], train[cut:]
        self.names = [outcomes.models[each] for each in models]
        self.agents = registry(outcomes, self.fitted, models)
        trained = Router(fit(outcomes.rows(self.fitted)).artifact)
        means = np.nanmean(outcomes.cost[self.fitted][:, models], axis=0)

        def expected(rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
            assert outcomes.features is not None
            batch = trained.route_features(outcomes.features.rows(rows))
            cost = batch.costs[:, models].astype(np.float64)
            assert outcomes.cost is not None
            if not np.isfinite(cost).any():
                cost = outcomes.cost[rows][:, models]
            return np.clip(batch.scores.astype(np.float64)[:, models], 0, 1), np.where(
                np.isfinite(cost), cost, means
            )

        def came(rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
            assert outcomes.cost is not None
            cost = outcomes.cost[rows][:, models]
            return np.nan_to_num(outcomes.quality[rows][:, models]), np.where(np.isfinite(cost), cost, means)

        plain, self.held_priced = expected(self.held)
        self.held_quality, _ = came(self.held)
        self.learned = train
        self.learned_quality, self.learned_cost = came(train)
        self.held_out = HeldOut.of(
            dict(zip(self.names, plain.T, strict=True)),
            dict(zip(self.names, self.held_quality.T, strict=True)),
            outcomes.features.tokens[self.held].astype(np.float64),
            outcomes.group[self.held],
        )
        self.raw, self.priced = expected(self.test)
        self.scores = np.clip(self.raw + self.held_out.levels, 0, 1)
        self.quality, self.cost = came(self.test)


def one(split: Split, table_name: str, seed: int) -> dict[str, Any]:
    """Policies and batches on one split."""
    router = AgentRouter(split.agents)
    names, scores, quality, cost = split.names, split.scores, split.quality, split.cost
    rows = np.arange(len(scores))
    tried: dict[str, npt.NDArray[np.int64]] = {name: np.full(len(rows), at) for at, name in enumerate(names)}
    tried |= {name: chosen(router, names, scores, name) for name in NAMED}
    for weight in WEIGHTS:
        weights = {"quality": 1.0, "cost": float(weight)}
        tried[f"quality - {weight:.0f} USD"] = chosen(router, names, scores, "weights", weights=weights)
    tried["at random"] = np.random.default_rng(seed).integers(0, len(names), len(rows))
    points = {name: (cost[rows, choice], quality[rows, choice]) for name, choice in tried.items()}
    samples = np.random.default_rng(0).integers(0, len(rows), (DRAWS, len(rows)))
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
            "beaten clear of chance": any(often >= 0.975 for often in beaten_by.values()),
            "beaten by, and in which share of draws": beaten_by,
        }
    return {
        "rows": len(rows),
        "policies tried": {
            name: [float(f"{each[0].mean():.4g}"), round(float(each[1].mean()), 4)]
            for name, each in points.items()
        },
        "front": front,
        "batch": [together(split, least) for least in LEAST[table_name]],
    }


def pooled(splits: list[Split], least: float) -> list[float]:
    """Share of the cost saved over all splits; 95 % by drawing rows of the table, all appearances together."""
    parts = [compared(split, least) for split in splits]
    rows = np.concatenate([split.test for split in splits])
    size = int(rows.max()) + 1
    ahead, spent = (
        np.bincount(rows, np.concatenate([part[at] for part in parts]), minlength=size) for at in (0, 1)
    )
    there = np.unique(rows)
    samples = there[np.random.default_rng(2).integers(0, len(there), (DRAWS, len(there)))]
    saved = ahead[samples].sum(1) / spent[samples].sum(1)
    return [round(float(each), 4) for each in (ahead.sum() / spent.sum(), *np.quantile(saved, [0.025, 0.975]))]


def compared(split: Split, least: float) -> tuple[Floats, Floats]:
    """By row, what a batch is ahead of one by one, USD at equal quality reached, and what one by one costs."""
    found, alone, _ = both(split, least)
    rows = np.arange(len(alone))
    spent, reached = split.cost[rows, alone], split.quality[rows, alone]
    # What the batch reaches less is bought at what it costs there.
    more = split.quality[rows, found.columns] - reached
    return spent - split.cost[rows, found.columns] + found.multiplier * more, spent


def both(split: Split, least: float) -> tuple[Assignment, npt.NDArray[np.int64], float]:
    """The batch, one by one, and the mean quality that both expect."""
    rows = np.arange(len(split.scores))
    able = np.where(split.scores >= least, split.priced, np.inf)
    alone = np.where(np.isfinite(able).any(1), able.argmin(1), split.scores.argmax(1))
    target = float(split.scores[rows, alone].mean())
    return assign(split.scores, split.priced, min_mean_quality=target), alone, target


def together(split: Split, least: float) -> dict[str, Any]:
    """A batch beside one by one, at the same mean quality."""
    found, alone, target = both(split, least)
    ahead, spent = compared(split, least)
    rows = np.arange(len(alone))
    reached = [split.quality[rows, columns].mean() for columns in (alone, found.columns)]
    samples = np.random.default_rng(1).integers(0, len(rows), (DRAWS, len(rows)))
    saved = ahead[samples].sum(1) / spent[samples].sum(1)
    return {
        "one by one at least": least,
        "mean quality, expected, reached, and reached by the batch": [
            round(target, 4), *(round(float(each), 4) for each in reached),
        ],
        "share of the cost saved at equal quality reached, 95 %": [
            round(float(each), 4) for each in (ahead.sum() / spent.sum(), *np.quantile(saved, [0.025, 0.975]))
        ],
        "gap to the linear programme": float(f"{found.gap:.2g}"),
    }  # fmt: skip


def met(split: Split, seed: int) -> dict[str, list[int]]:
    """By how it is made: [batches that reached the mean quality asked for, those that could be made]."""
    chance = np.random.default_rng(seed)
    counts = {each: [0, 0] for each in ("not calibrated", "calibrated", "with confidence .9")}
    for _ in range(BATCHES):
        rows = chance.choice(len(split.scores), min(BATCH, len(split.scores) // 2), replace=False)
        scores, priced = split.scores[rows], split.priced[rows]
        low, high = scores[np.arange(len(rows)), priced.argmin(1)].mean(), scores.max(1).mean()
        for share in (0.3, 0.6):
            target = float(low + share * (high - low))
            for label, count in counts.items():
                try:
                    columns = made(split, rows, label, target)
                except NoFeasibleModelError:
                    continue
                count[1] += 1
                count[0] += int(split.quality[rows, columns].mean() >= target)
    return counts


def made(split: Split, rows: npt.NDArray[np.int64], label: str, target: float) -> npt.NDArray[np.int64]:
    """The columns of a batch."""
    if label == "not calibrated":
        return assign(split.raw[rows], split.priced[rows], min_mean_quality=target).columns
    if label == "calibrated":
        return assign(split.scores[rows], split.priced[rows], min_mean_quality=target).columns
    found, _ = split.held_out.assign(
        split.scores[rows],
        split.priced[rows],
        split.held_priced,
        list(range(len(split.names))),
        min_mean_quality=target,
        confidence=0.9,
        capacities=None,
        budget=None,
    )
    return found.columns


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


def worsening(half_lives: tuple[float, ...] = (200.0, 1000.0)) -> dict[str, Any]:
    """An agent that falls from .8 to .5 after 1,000 outcomes, a second apart, beside a known one of .7."""
    found = {}
    for half_life in (*half_lives, None):
        wrong = []
        for seed in range(100):
            chance = random.Random(seed)
            agents = AgentRegistry(
                [Agent("falls", quality=0.8), Agent("known", quality=0.7, prior_weight=1e6)],
                clock=lambda: NOW,
                half_life_s=half_life,
            )
            router = AgentRouter(agents)
            for turn in range(1000):
                agents.observe("falls", quality=float(chance.random() < 0.8), at=NOW + turn)
            outcomes = 0
            for turn in range(1000, 3000):
                if router.route("x", "quality", input_tokens=1, now=NOW + turn).agent != "falls":
                    break
                outcomes += 1
                agents.observe("falls", quality=float(chance.random() < 0.5), at=NOW + turn)
            wrong.append(outcomes)
        label = "nothing fades" if half_life is None else f"half-life of {half_life:.0f} outcomes"
        found[label] = {
            "outcomes until it is left: median, 95 %": [
                int(np.median(wrong)), int(np.quantile(wrong, 0.95)),
            ],
            "regret, wholly good answers: mean": round(float(np.mean(wrong)) * 0.2, 1),
        }  # fmt: skip
    return found


def main() -> None:
    """Prints and writes the figures."""
    result: dict[str, Any] = {}
    for name in TABLES:
        outcomes = priced_table(name)
        if outcomes is None:
            continue
        splits = [Split(outcomes, seed) for seed in range(SPLITS)]
        result[name] = [one(split, name, seed) for seed, split in enumerate(splits)]
        counts = [met(split, seed) for seed, split in enumerate(splits)]
        result[name].append(
            {
                "share of the cost saved at equal quality reached, all splits, 95 %": {
                    f"one by one at least {least}": pooled(splits, least) for least in LEAST[name]
                },
                "batches that reached the mean quality asked for, of those that could be made": {
                    label: [sum(each[label][at] for each in counts) for at in (0, 1)] for label in counts[0]
                },
            }
        )
    result["an agent that declares .3 too much"] = boasts()
    result["an agent that gets worse"] = worsening()
    write(
        "agents",
        result,
        "Policies over agents: [USD a request, quality] of each; what a batch saves; when a boast is found out.",
    )


if __name__ == "__main__":
    main()
