"""Budgets over agents, in a world whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiny_dancer.errors import DataError, NoFeasibleModelError, OptionError
from tiny_dancer.evaluation.agent_history import AgentHistory, expected_quality
from tiny_dancer.evaluation.allocation import allocate
from tiny_dancer.evaluation.bootstrap import Interval
from tiny_dancer.evaluation.replay import plan, policy_value, replay
from tiny_dancer.routing.agents import assign

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

NAMES = ("small", "middle", "good", "large")
SKILL = np.array([0.45, 0.6, 0.75, 0.95])
PRICE = np.array([0.0002, 0.001, 0.004, 0.02])
CHANCE = np.array([0.4, 0.3, 0.2, 0.1])


def world(
    n: int = 2000, seed: int = 0, *, dealt: bool = True, noise: float = 0.1, bias: float = 0.1
) -> tuple[AgentHistory, Floats]:
    """A log, and the true quality of each agent on each request. Scores are off, by agent and by chance."""
    rng = np.random.default_rng(seed)
    hard = rng.beta(2, 2, n)
    truth = 1 / (1 + np.exp(-8 * (SKILL - 0.9 * hard[:, None])))
    cost = rng.lognormal(0, 0.5, n)[:, None] * PRICE
    off = bias * np.array([1.0, -1.0, 0.5, -0.5])
    scores = np.clip(truth + rng.normal(0, noise, truth.shape) + off, 0, 1)
    served = rng.choice(4, n, p=CHANCE) if dealt else np.where(hard > 0.5, 3, 1)
    rows = np.arange(n)
    observed = np.full(truth.shape, np.nan)
    judged = rng.random(n) < 0.5
    observed[rows[judged], served[judged]] = rng.random(judged.sum()) < truth[rows, served][judged]
    history = AgentHistory(
        agents=NAMES,
        cost=cost,
        served=served,
        spent=cost[rows, served],
        scores=scores,
        observed=observed,
        latency=np.array([0.3, 0.5, 1.0, 2.0])[served] * rng.lognormal(0, 0.3, n),
        day=np.sort(rng.integers(20_000, 20_030, n)),
        declared=np.full(4, np.nan),
        weight=np.full(4, 5.0),
        timing=np.full(4, np.nan),
        dealt=CHANCE[served] if dealt else None,
    )
    return history, truth


def per_month(history: AgentHistory) -> Interval:
    return Interval(float(len(history)), 0.9 * len(history), 1.1 * len(history))


def test_a_plan_is_near_the_optimum_of_the_true_programme_and_beats_shares() -> None:
    near = []
    for seed in range(5):
        history, truth = world(seed=seed)
        budget = float(history.cost[:, 2].sum())
        quality = expected_quality(history)
        chances = plan(quality, history.cost, budget, len(history))
        assert (chances * history.cost).sum() <= budget * (1 + 1e-9)
        reached = float((chances * truth).sum(axis=1).mean())
        best = assign(truth, history.cost, optimize_for="quality", budget=budget).quality
        near.append(best - reached)
        # The rivals may spend no more: what is too dear is thinned out with the cheapest.
        for rival in rivals(quality, history.cost, budget).values():
            assert reached > (rival * truth).sum(axis=1).mean() + 0.01
    assert np.mean(near) < 0.015 and min(near) > -1e-3


def rivals(quality: Floats, cost: Floats, budget: float) -> dict[str, Floats]:
    """Shares of requests: proportional to quality / cost, quality / (1 + cost), equal, best, cheapest only."""
    n, agents = cost.shape
    mean, dear = quality.mean(axis=0), cost.mean(axis=0)
    best = np.eye(agents)[mean.argmax()]
    cheapest = np.eye(agents)[dear.argmin()]
    shares = {
        "quality / cost": mean / dear / (mean / dear).sum(),
        "quality / (1 + cost)": mean / (1 + dear) / (mean / (1 + dear)).sum(),
        "equal": np.full(agents, 1 / agents),
        "best only": best,
        "cheapest only": cheapest,
    }
    found = {}
    for name, share in shares.items():
        usd, least = float(cost.sum(axis=0) @ share), float(cost.sum(axis=0) @ cheapest)
        part = 1.0 if usd <= budget else (budget - least) / (usd - least)
        found[name] = np.tile(part * share + (1 - part) * cheapest, (n, 1))
    return found


def test_a_replay_of_a_log_dealt_at_random_is_unbiased() -> None:
    """Scores are far off; what was seen corrects them. Without the chances they were dealt with it cannot."""
    off, covered, without = [], 0, []
    for seed in range(24):
        history, truth = world(1500, seed=seed, bias=0.25)
        budget = float(history.cost[:, 2].sum())
        everyone = np.ones(4, bool)
        found = replay(history, everyone, budget, 1500.0, level=0.9, replicates=200, seed=0)
        chances = plan(expected_quality(history), history.cost, budget, 1500.0)
        true = float((chances * truth).sum(axis=1).mean())
        off.append(found.quality.estimate - true)
        covered += found.quality.low <= true <= found.quality.high
        assert found.unbiased and found.requests == 1500 and 28 <= found.days <= 30
        assert found.cost.estimate == pytest.approx(budget, rel=0.02)
        assert [each.agent for each in found.always] == list(NAMES)  # the cheapest first
        for column, each in enumerate(found.always):
            assert each.requests == 1500
            assert each.quality.low - 0.15 < truth[:, column].mean() < each.quality.high + 0.15
            assert each.cost.estimate == pytest.approx(history.cost[:, column].sum())
            difference = history.cost[:, column].sum() - history.spent.sum()
            assert each.saved.low < difference < each.saved.high
        fixed = np.tile([0.0, 0.0, 1.0, 0.0], (1500, 1))
        wrong = np.full(history.cost.shape, 0.1)
        value, _ = policy_value(history, wrong, fixed)
        without.append(value.mean() - truth[:, 2].mean())
    assert abs(np.mean(off)) < 0.012
    assert covered >= 18
    # Expectations may be worth nothing at all.
    assert abs(np.mean(without)) < 3 * np.std(without) / math.sqrt(len(without)) + 1e-3


def test_what_is_said_of_each_agent() -> None:
    history, truth = world()
    budget = float(history.cost[:, 2].sum())
    found = allocate(history, monthly_budget=budget, volume=per_month(history), replicates=200)
    assert sum(each.share for each in found.agents) == pytest.approx(1)
    assert [each.share for each in found.agents] == sorted([each.share for each in found.agents], reverse=True)
    assert sum(each.cost.estimate for each in found.agents) == pytest.approx(found.cost.estimate)
    assert found.cost.estimate <= budget * (1 + 1e-6) and found.cost.low < budget < found.cost.high
    assert found.cost.estimate > 0.99 * budget
    by_name = {each.agent: each for each in found.agents}
    assert set(by_name) == set(NAMES)
    large = by_name["large"]
    assert large.basis == "scores and outcomes" and large.seen > 50 and large.removed == ""
    assert large.latency is not None and large.latency.low < 2.09 < large.latency.high
    assert by_name["small"].quality_per_usd is None  # nobody is cheaper
    dear = [by_name[name].quality_per_usd for name in ("middle", "good", "large")]
    assert all(each is not None for each in dear)
    assert dear == sorted(dear, reverse=True)  # type: ignore[type-var]
    # What one USD more would bring is less than what any agent brings on average: the best is paid first.
    assert 0 < found.quality_per_usd < min(dear)  # type: ignore[type-var]
    assert found.unknown == () and found.sufficient
    budgets = [each.budget for each in found.curve]
    qualities = [each.quality for each in found.curve]
    slopes = [each.quality_per_usd for each in found.curve]
    assert budgets == sorted(budgets) and qualities == sorted(qualities)
    assert all(one >= other - 1e-6 * one for one, other in pairwise(slopes[1:]))
    assert slopes[-1] == 0.0 and qualities[-1] == pytest.approx(found.best_quality, abs=1e-6)
    del truth


def test_a_threshold_and_the_least_budget_that_suffices() -> None:
    history, _ = world()
    volume = per_month(history)
    budget = float(history.cost[:, 1].sum())
    poor = allocate(history, monthly_budget=budget, volume=volume, quality_threshold=0.85, replicates=50)
    assert not poor.sufficient and poor.quality.estimate < 0.85 and poor.least_budget > budget
    enough = allocate(
        history, monthly_budget=poor.least_budget * 1.001, volume=volume, quality_threshold=0.85, replicates=50
    )
    assert enough.sufficient and enough.quality.estimate >= 0.85 - 1e-4
    assert enough.least_budget == pytest.approx(poor.least_budget)
    less = allocate(
        history, monthly_budget=poor.least_budget * 0.98, volume=volume, quality_threshold=0.85, replicates=50
    )
    assert not less.sufficient
    with pytest.raises(NoFeasibleModelError, match=r"quality_threshold.*reach 0\.\d+ at most"):
        allocate(history, monthly_budget=1e6, volume=volume, quality_threshold=0.999)
    with pytest.raises(NoFeasibleModelError, match="the cheapest agents alone cost"):
        allocate(history, monthly_budget=0.0, volume=volume)
    rich = allocate(history, monthly_budget=1e6, volume=volume, replicates=50)
    assert rich.quality_per_usd == 0.0 and rich.cost.estimate < 1e6


def test_slow_agents_and_those_nobody_knows() -> None:
    history, _ = world()
    volume = per_month(history)
    found = allocate(history, monthly_budget=1e3, volume=volume, latency_threshold=1.5, replicates=50)
    by_name = {each.agent: each for each in found.agents}
    assert by_name["large"].removed.startswith("latency: 2,") and by_name["large"].share == 0
    assert found.latency is not None and found.latency.estimate < 1.5
    with pytest.raises(NoFeasibleModelError, match="small: latency"):
        allocate(history, monthly_budget=1e3, volume=volume, latency_threshold=0.01)
    new = replace(
        history,
        agents=(*NAMES, "declared", "unheard", "unpriced"),
        cost=np.column_stack([history.cost, history.cost[:, :2], np.full(len(history), np.nan)]),
        scores=np.column_stack([history.scores, np.full((len(history), 3), np.nan)]),
        observed=np.column_stack([history.observed, np.full((len(history), 3), np.nan)]),
        declared=np.array([np.nan] * 4 + [0.97, np.nan, 0.9]),
        weight=np.full(7, 5.0),
        timing=np.full(7, np.nan),
        dealt=None,
        removed={"good": "retired: not in the registry"},
    )
    found = allocate(new, monthly_budget=1e3, volume=volume, replicates=50)
    by_name = {each.agent: each for each in found.agents}
    assert by_name["declared"].basis == "declared" and by_name["declared"].share > 0.3
    assert math.isnan(by_name["declared"].quality.low)
    assert by_name["unheard"].removed == "quality_unknown" and by_name["unpriced"].removed == "cost_unknown"
    assert by_name["good"].removed.startswith("retired") and by_name["good"].share == 0
    said = "\n".join(found.unknown)
    assert "declared: its quality is what was declared; no answer of it was judged" in said
    assert "nobody knows its quality" in said and "nobody knows its cost" in said
    assert "chosen, not dealt at random" in said
    assert found.latency is None  # nobody has timed the new one
    timed = allocate(new, monthly_budget=1e3, volume=volume, latency_threshold=5.0, replicates=50)
    assert {each.agent: each for each in timed.agents}["declared"].removed == "latency_unknown"


def test_outcomes_move_scores_and_few_of_them_little() -> None:
    history, truth = world(4000, noise=0.0, bias=0.2)
    blind = replace(history, observed=np.full(history.observed.shape, np.nan))
    before = np.abs(expected_quality(blind).mean(axis=0) - truth.mean(axis=0))
    after = np.abs(expected_quality(history).mean(axis=0) - truth.mean(axis=0))
    assert (after < before / 3).all()
    few = np.full(history.observed.shape, np.nan)
    few[0, history.served[0]] = 0.0
    moved = expected_quality(replace(history, observed=few)) - expected_quality(blind)
    assert np.abs(moved.mean(axis=0)).max() < 0.2


def test_few_requests_of_one_day() -> None:
    history, _ = world(12)
    one = replace(history, day=np.full(12, 20_000))
    found = allocate(one, monthly_budget=1.0, volume=Interval(12.0, math.nan, math.nan), replicates=50)
    assert sum(each.share for each in found.agents) == pytest.approx(1)
    assert any("few days" in each for each in found.unknown)


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"monthly_budget": -1.0}, OptionError, "monthly_budget"),
        ({"monthly_budget": math.nan}, OptionError, "monthly_budget"),
        ({"monthly_budget": math.inf}, OptionError, "monthly_budget"),
        ({"quality_threshold": 1.5}, OptionError, "quality_threshold"),
        ({"quality_threshold": math.nan}, OptionError, "quality_threshold"),
        ({"latency_threshold": 0.0}, OptionError, "latency_threshold"),
        ({"latency_threshold": math.nan}, OptionError, "latency_threshold"),
        ({"volume": Interval(0.0, 0.0, 0.0)}, OptionError, "volume"),
        ({"level": 1.0}, OptionError, "level"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], error: type[Exception], named: str) -> None:
    history, _ = world(50)
    words: dict[str, Any] = {"monthly_budget": 1.0, "volume": per_month(history)} | change
    with pytest.raises(error) as caught:
        allocate(history, **words)
    assert caught.value.field == named  # type: ignore[attr-defined]


def test_histories_that_cannot_be() -> None:
    history, _ = world(20)
    for change, named in (
        ({"agents": ("a", "a", "b", "c")}, "agents"),
        ({"scores": history.scores[:5]}, "scores"),
        ({"observed": history.observed + 2}, "observed"),
        ({"cost": -history.cost}, "cost"),
        ({"served": history.served[:3]}, "served"),
        ({"weight": np.ones(2)}, "weight"),
        ({"dealt": np.zeros(20)}, "dealt"),
    ):
        with pytest.raises(DataError) as caught:
            replace(history, **change)  # type: ignore[arg-type]
        assert caught.value.field == named
