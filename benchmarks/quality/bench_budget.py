"""What a month's budget reaches, given to agents as a plan, beside shares in proportion and other simple ways.

    python benchmarks/quality/bench_budget.py

Two kinds of logs. *Known truth*: four agents, requests of differing difficulty, scores that are off by agent and
by chance; the log is dealt at random, half of the answers are judged. *Real tables*: half of the rows train a
request router; of the others a log is made, in which every request was dealt to one model at random and its
outcome was seen with chance one half. What a way of spending reaches is then known, as the tables have every
model's outcome.

Budgets lie a quarter, a half and three quarters between what the cheapest and the best model cost. Ways that cost
more than the budget are thinned out with the cheapest model, so that all spend the same or less. The optimum is
the linear programme that knows every outcome: nobody can reach it. ``one number a model`` is the plan without
scores.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench_agents import BILLIONS

from common import draw, table, write
from tiny_dancer import Router, fit
from tiny_dancer.evaluation.agent_history import AgentHistory, expected_quality
from tiny_dancer.evaluation.bootstrap import mean_statistics, paired_bootstrap, paired_difference
from tiny_dancer.evaluation.replay import plan, replay
from tiny_dancer.routing.agents import assign

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer import Outcomes

    Floats = npt.NDArray[np.float64]

TABLES = ("bfcl", "zeroeval", "llmrouter")
PARTS = (0.25, 0.5, 0.75)
SEEDS = 20


def log_of(scores: Floats, cost: Floats, truth: Floats, seed: int) -> AgentHistory:
    """A log dealt at random, half of it judged; ``truth`` is the quality that is seen."""
    # Of a stream of its own: with that of the world, who is asked would depend on how hard the request is.
    rng = np.random.default_rng([seed, 1])
    n, agents = cost.shape
    served = rng.integers(0, agents, n)
    rows = np.arange(n)
    observed = np.full(cost.shape, np.nan)
    judged = rng.random(n) < 0.5
    observed[rows[judged], served[judged]] = truth[rows, served][judged]
    return AgentHistory(
        agents=tuple(map(str, range(agents))),
        cost=cost,
        served=served,
        spent=cost[rows, served],
        scores=scores,
        observed=observed,
        latency=np.ones(n),
        day=rng.integers(0, 30, n),
        declared=np.full(agents, np.nan),
        weight=np.full(agents, 5.0),
        timing=np.full(agents, np.nan),
        dealt=np.full(n, 1 / agents),
    )


def ways(history: AgentHistory, budget: float) -> dict[str, Floats]:
    """Chances of each request and agent, by way of spending."""
    cost, n = history.cost, len(history)
    quality = expected_quality(history)
    plain = expected_quality(replace(history, scores=np.full(cost.shape, np.nan)))
    mean, dear = plain.mean(axis=0), cost.mean(axis=0)
    cheapest = np.eye(len(mean))[dear.argmin()]
    shares = {
        "in proportion to quality / USD": mean / dear / (mean / dear).sum(),
        "in proportion to quality / (1 + USD)": mean / (1 + dear) / (mean / (1 + dear)).sum(),
        "equal shares": np.full(len(mean), 1 / len(mean)),
        "best only": np.eye(len(mean))[mean.argmax()],
        "cheapest only": cheapest,
    }
    found = {
        "plan": plan(quality, cost, budget, n),
        "one number a model": plan(plain, cost, budget, n),
    }
    for name, share in shares.items():
        usd, least = float(cost.sum(axis=0) @ share), float(cost.sum(axis=0) @ cheapest)
        part = 1.0 if usd <= budget else (budget - least) / (usd - least)
        found[name] = np.tile(part * share + (1 - part) * cheapest, (n, 1))
    return found


def budgets(cost: Floats, mean: Floats) -> list[float]:
    """USD between what the cheapest and what the best model cost."""
    sums = cost.sum(axis=0)
    low, high = float(sums.min()), float(sums[mean.argmax()])
    return [low + part * (high - low) for part in PARTS]


def interval(values: Floats) -> list[float]:
    """Mean with its 95 % interval over rows."""
    found = paired_bootstrap(mean_statistics(values[:, None]), len(values)).interval(0)
    return [round(each, 4) for each in (found.estimate, found.low, found.high)]


def real(outcomes: Outcomes, seed: int = 0) -> dict[str, Any]:
    """One table."""
    assert outcomes.cost is not None and outcomes.features is not None
    models = [each for each in range(len(outcomes.models)) if np.isfinite(outcomes.cost[:, each]).mean() > 0.9]
    train, rest = draw(outcomes, len(outcomes) // 2, seed)
    batch = Router(fit(outcomes.rows(train)).artifact).route_features(outcomes.features.rows(rest))
    scores = np.clip(batch.scores.astype(np.float64)[:, models], 0, 1)
    truth = np.clip(np.nan_to_num(outcomes.quality[rest][:, models]), 0, 1)
    means = np.nanmean(outcomes.cost[train][:, models], axis=0)
    cost = np.where(np.isfinite(outcomes.cost[rest][:, models]), outcomes.cost[rest][:, models], means)
    history = log_of(scores, cost, truth, seed)
    found: dict[str, Any] = {"rows": len(rest), "models": len(models)}
    for part, budget in zip(PARTS, budgets(cost, truth.mean(axis=0)), strict=True):
        chances = ways(history, budget)
        reached = {name: (each * truth).sum(axis=1) for name, each in chances.items()}
        best = assign(truth, cost, optimize_for="quality", budget=budget).quality
        replayed = replay(
            history, np.ones(len(models), bool), budget, len(rest), level=0.95, replicates=500, seed=0
        )
        found[f"budget at {part}"] = {
            "reached": {name: interval(values) for name, values in reached.items()},
            "share of the budget spent": {
                name: round(float((each * cost).sum() / budget), 4) for name, each in chances.items()
            },
            "optimum that knows every outcome": round(best, 4),
            "plan beyond": {
                name: [
                    round(each, 4)
                    for each in _three(paired_difference(reached["plan"], values, bounds=(-1.0, 1.0)))
                ]
                for name, values in reached.items()
                if name != "plan"
            },
            "replayed": [round(each, 4) for each in _three(replayed.quality)],
        }
    return found


def _three(found: Any) -> tuple[float, float, float]:
    return found.estimate, found.low, found.high


def simulated(noise: float, bias: float) -> dict[str, Any]:
    """Known truth: how near the optimum, what others reach, and how far off the replay is."""
    gaps, off, covered = [], [], 0
    reached: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        n = 2000
        hard = rng.beta(2, 2, n)
        truth = 1 / (1 + np.exp(-8 * (np.array([0.45, 0.6, 0.75, 0.95]) - 0.9 * hard[:, None])))
        cost = rng.lognormal(0, 0.5, n)[:, None] * np.array([0.0002, 0.001, 0.004, 0.02])
        off_by = bias * np.array([1.0, -1.0, 0.5, -0.5])
        scores = np.clip(truth + rng.normal(0, noise, truth.shape) + off_by, 0, 1)
        history = log_of(scores, cost, (rng.random(truth.shape) < truth).astype(float), seed)
        budget = budgets(cost, truth.mean(axis=0))[0]
        for name, chances in ways(history, budget).items():
            reached.setdefault(name, []).append(float((chances * truth).sum(axis=1).mean()))
        best = assign(truth, cost, optimize_for="quality", budget=budget).quality
        gaps.append(best - reached["plan"][-1])
        replayed = replay(history, np.ones(4, bool), budget, n, level=0.9, replicates=300, seed=0).quality
        off.append(replayed.estimate - reached["plan"][-1])
        covered += replayed.low <= reached["plan"][-1] <= replayed.high
    return {
        "reached": {name: round(float(np.mean(values)), 4) for name, values in reached.items()},
        "below the optimum: mean, most": [round(float(np.mean(gaps)), 4), round(float(np.max(gaps)), 4)],
        "replay off by: mean, standard error": [
            round(float(np.mean(off)), 4),
            round(float(np.std(off, ddof=1) / np.sqrt(SEEDS)), 4),
        ],
        "replay's 90 % interval covers": round(covered / SEEDS, 3),
    }


def main() -> None:
    """Prints and writes the figures."""
    result: dict[str, Any] = {
        "known truth": {
            f"scores off by {bias} an agent and {noise} by chance": simulated(noise, bias)
            for noise, bias in ((0.05, 0.0), (0.15, 0.1), (0.3, 0.25))
        }
    }
    for name in TABLES:
        outcomes = table(name)
        if outcomes is not None and outcomes.cost is None:
            assert outcomes.features is not None
            prices = np.array([BILLIONS[model] for model in outcomes.models]) * 0.02e-6
            outcomes = replace(outcomes, cost=(outcomes.features.tokens[:, None] + 256.0) * prices)
        if outcomes is not None:
            result[name] = real(outcomes)
    write(
        "budget",
        result,
        "What a budget reaches in mean quality (95 % intervals over rows): a plan beside other ways to spend it.",
    )


if __name__ == "__main__":
    main()
