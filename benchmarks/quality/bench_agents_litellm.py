"""Choices among models beside LiteLLM's routers on the same tables: what they cost, and what they are worth.

    python benchmarks/quality/bench_agents_litellm.py

LiteLLM's own code chooses: its quality router (complexity of the text by rules, mapped to tiers of quality),
with each model in the tier of its rank by quality on the rows that ours learned from, and its adaptive router
(kinds of requests by rules, a bandit a kind and model), which is told the true quality of every model on all of
those rows: more than it learns from signals of real conversations. Ours: a router trained on three quarters of
those rows and calibrated on the rest, with `quality - weight * USD`, the weight chosen on the calibration rows
so that its expected cost there is that of LiteLLM's choice. What it gains is the mean difference on the rows
that nobody learned from, with 95 % by the bootstrap (2,000 draws of rows). Costs as in bench_agents.py.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench_agents import Split, priced_table

from common import SHARED, write

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]

TABLES = ("bfcl", "llmrouter", "zeroeval")
SPLITS = 3
DRAWS = 2000
TIERS = 4


def by_tiers(split: Split, texts: list[str]) -> Rows:
    """The choices of LiteLLM's quality router."""
    from litellm.router_strategy.quality_router.quality_router import QualityRouter

    order = split.learned_quality.mean(0).argsort().argsort()
    mean_cost = split.learned_cost.mean(0)
    deployments = [
        {
            "model_name": name,
            "model_info": {
                "input_cost_per_token": float(mean_cost[at]),
                "litellm_routing_preferences": {"quality_tier": 1 + int(order[at]) * TIERS // len(split.names)},
            },
        }
        for at, name in enumerate(split.names)
    ]
    context: Any = SimpleNamespace(registry=lambda: SimpleNamespace(all=lambda: deployments))
    router = QualityRouter("tiers", context, quality_router_config={"available_models": split.names})
    place = {name: at for at, name in enumerate(split.names)}

    async def choose() -> list[int]:
        found = []
        for text in texts:
            message: dict[str, object] = {"role": "user", "content": text or " x"}
            answer = await router.async_pre_routing_hook("tiers", {}, [message])
            assert answer is not None
            found.append(place[answer.model])
        return found

    return np.array(asyncio.run(choose()))


def by_bandit(split: Split, learned: list[str], texts: list[str], seed: int) -> Rows:
    """The choices of LiteLLM's adaptive router, told the quality of every model on the rows it learns from."""
    from litellm.router_strategy.adaptive_router.bandit import apply_delta, initial_cell, pick_best
    from litellm.router_strategy.adaptive_router.classifier import classify_prompt
    from litellm.types.router import AdaptiveRouterPreferences

    chance = random.Random(seed)
    cells: dict[Any, dict[str, Any]] = {}

    def of_kind(text: str) -> tuple[Any, dict[str, Any]]:
        kind = classify_prompt(text)
        if kind not in cells:
            start = AdaptiveRouterPreferences(quality_tier=2, strengths=[])
            cells[kind] = {name: initial_cell(start, kind) for name in split.names}
        return kind, cells[kind]

    for text, quality in zip(learned, split.learned_quality, strict=True):
        kind, known = of_kind(text)
        cells[kind] = {
            name: apply_delta(known[name], float(good), 1.0 - float(good))
            for name, good in zip(split.names, quality, strict=True)
        }
    costs = dict(zip(split.names, split.learned_cost.mean(0).tolist(), strict=True))
    place = {name: at for at, name in enumerate(split.names)}
    return np.array([place[pick_best(of_kind(text)[1], costs, rng=chance)] for text in texts])


def ours(split: Split, usd: float) -> Rows:
    """Our choices, for no more than about so much a request."""
    held = split.held_out.expected
    rows = np.arange(len(held))
    for weight in np.geomspace(0.1, 1e6, 400):
        if split.held_priced[rows, (held - weight * split.held_priced).argmax(1)].mean() <= usd:
            return (split.scores - weight * split.priced).argmax(1)
    return split.priced.argmin(1)


def figures(split: Split, chosen: Rows) -> list[float]:
    """[USD a request, quality]."""
    rows = np.arange(len(chosen))
    cost, quality = split.cost[rows, chosen].mean(), split.quality[rows, chosen].mean()
    return [float(f"{cost:.4g}"), round(float(quality), 4)]


def beside(split: Split, theirs: Rows, mine: Rows) -> dict[str, list[float]]:
    """Gained in quality, and spent as a share of theirs, each with 95 %."""
    rows = np.arange(len(theirs))
    gained = split.quality[rows, mine] - split.quality[rows, theirs]
    spent, other = split.cost[rows, mine], split.cost[rows, theirs]
    samples = np.random.default_rng(0).integers(0, len(rows), (DRAWS, len(rows)))

    def interval(value: float, drawn: Floats) -> list[float]:
        return [round(float(each), 4) for each in (value, *np.quantile(drawn, [0.025, 0.975]))]

    return {
        "quality gained, 95 %": interval(float(gained.mean()), gained[samples].mean(1)),
        "cost, as a share of theirs, 95 %": interval(
            float(spent.sum() / other.sum()), spent[samples].sum(1) / other[samples].sum(1)
        ),
    }


def one(name: str, seed: int, split: Split, texts: list[str]) -> dict[str, Any]:
    """Everybody on one split."""
    tested = [texts[row] for row in split.test]
    peers = {
        "LiteLLM, quality router": by_tiers(split, tested),
        "LiteLLM, adaptive router": by_bandit(split, [texts[row] for row in split.learned], tested, seed),
    }
    best = int(split.learned_quality.mean(0).argmax())
    trivial = {
        "cheapest": split.priced.argmin(1),
        "best on the rows learned from": np.full(len(tested), best),
        "at random": np.random.default_rng(seed).integers(0, len(split.names), len(tested)),
    }
    found: dict[str, Any] = {"rows": len(tested)}
    found["trivial: USD a request, quality"] = {label: figures(split, chosen) for label, chosen in trivial.items()}
    for label, theirs in peers.items():
        usd = figures(split, theirs)[0]
        mine = ours(split, usd)
        found[label] = {
            "theirs: USD a request, quality": figures(split, theirs),
            "ours for about as much": figures(split, mine),
            **beside(split, theirs, mine),
        }
    return found


def main() -> None:
    """Prints and writes the figures."""
    from importlib.metadata import version

    import pyarrow.parquet as parquet

    result: dict[str, Any] = {}
    for name in TABLES:
        outcomes = priced_table(name)
        if outcomes is None:
            continue
        table = parquet.read_table(SHARED / f"{name}.parquet")
        texts = [str(text) for text in table["prompt"].to_pylist()]
        assert len(texts) == len(outcomes)
        result[name] = [one(name, seed, Split(outcomes, seed), texts) for seed in range(SPLITS)]
    write(
        "agents_litellm",
        result,
        "Our choices beside those of LiteLLM's quality and adaptive routers, at about the same cost.",
        {"litellm": version("litellm")},
    )


if __name__ == "__main__":
    main()
