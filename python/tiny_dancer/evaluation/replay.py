"""What a plan over agents would have meant on logged requests, beside what happened.

A plan is made for each part of the log by what was learned on the others, so that it is judged on days it has not
seen. Where the log was dealt at random, what was seen corrects what was expected (doubly robust: Dudík, Langford
and Li 2011), so that the replay is unbiased whatever the expectations are worth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.agent_history import expected_quality
from tiny_dancer.evaluation.bootstrap import Interval, mean_statistics, paired_bootstrap
from tiny_dancer.routing.agents import assign

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.evaluation.agent_history import AgentHistory
    from tiny_dancer.routing.agents import Assignment

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

FOLDS = 5
FEWEST_ROWS = 1000
"""Fewer requests are repeated, so that shares of them are fine enough."""


@dataclass(frozen=True, slots=True)
class Always:
    """What one agent alone would have meant.

    Attributes:
        agent: its name.
        requests: replayed: those on which its cost is known.
        cost: USD of them.
        quality: mean.
        saved: USD less that they were answered for, as they were; below 0 where it alone would have been cheaper.
    """

    agent: str
    requests: int
    cost: Interval
    quality: Interval
    saved: Interval


@dataclass(frozen=True, slots=True)
class Replay:
    """What a plan would have meant on the logged requests, beside what happened.

    Attributes:
        requests: replayed.
        days: from the first to the last, those without requests too.
        cost: USD of all.
        quality: mean.
        cost_logged: USD of the same requests as they were answered.
        quality_logged: mean of the same; expected where it was not seen.
        saved: USD less than was spent.
        gained: quality more than there was.
        agreed: share of the requests that the plan gives to the agent that answered.
        judged: share of the requests whose answer was judged.
        unbiased: whether the log was dealt at random, so that what was seen corrects what was expected.
        always: what each agent alone would have meant, the cheapest first.
    """

    requests: int
    days: int
    cost: Interval
    quality: Interval
    cost_logged: Interval
    quality_logged: Interval
    saved: Interval
    gained: Interval
    agreed: float
    judged: float
    unbiased: bool
    always: tuple[Always, ...]


def policy_value(history: AgentHistory, quality: Floats, chances: Floats) -> tuple[Floats, Floats]:
    """What a policy is worth on each logged request: quality and USD, float64 [n] each.

    Where agents were dealt at random, what was seen corrects what was expected, at the inverse of the chance that
    it was seen. (That an answer is judged is taken not to depend on how good it is, given the agent.)

    Args:
        history: the log.
        quality: float64 [n, m], expected; of requests whose own outcomes it was not learned from.
        chances: float64 [n, m], with which the policy gives each request to each agent; rows sum to 1.
    """
    rows = np.arange(len(history))
    known = np.where(chances > 0, quality, 0.0)
    expected = (chances * known).sum(axis=1)
    there = history.served >= 0
    served = np.where(there, history.served, 0)
    outcome = history.observed[rows, served]
    given = np.where(there, chances[rows, served], 0.0)
    judged = there & np.isfinite(outcome)
    if history.dealt is None:
        # Where the policy gives the answer that was given, what was seen; else what is expected.
        value = expected + np.where(judged, given * (outcome - np.nan_to_num(quality[rows, served])), 0.0)
    else:
        rate = np.ones(len(history.agents))
        for agent in range(len(rate)):
            mine = there & (served == agent)
            rate[agent] = judged[mine].mean() if mine.any() else 1.0
        chance = history.dealt * np.maximum(rate[served], 1e-12)
        value = expected + np.where(judged, given / chance * (outcome - np.nan_to_num(quality[rows, served])), 0.0)
    costs = (chances * np.where(chances > 0, history.cost, 0.0)).sum(axis=1)
    real = there & np.isfinite(history.spent) & (given > 0)
    costs += np.where(
        real, given * (np.nan_to_num(history.spent) - np.nan_to_num(history.cost[rows, served])), 0.0
    )
    return value, costs


class Dealing:
    """Requests to be given to agents, which stand for those of a month."""

    def __init__(self, quality: Floats, cost: Floats, volume: float) -> None:
        """Requests that at least one agent may answer.

        Args:
            quality: float64 [n, m], expected.
            cost: float64 [n, m], USD; NaN where an agent must not answer.
            volume: requests of a month.
        """
        self._repeats = -(-FEWEST_ROWS // len(quality))
        self._quality = np.tile(np.nan_to_num(quality), (self._repeats, 1))
        self._cost = np.tile(cost, (self._repeats, 1))
        self._shape = quality.shape
        self.scale = volume / len(self._quality)

    def best(self, budget: float | None) -> Assignment:
        """The highest mean quality within USD a month."""
        money = None if budget is None else budget / self.scale
        return assign(self._quality, self._cost, optimize_for="quality", budget=money)

    def least(self, quality: float | None = None) -> Assignment:
        """The least cost, at a mean quality."""
        return assign(self._quality, self._cost, min_mean_quality=quality)

    def usd(self, found: Assignment) -> float:
        """What it costs in a month."""
        return found.cost * self.scale

    def chances(self, found: Assignment) -> Floats:
        """Share of each request that each agent gets, float64 [n, m]."""
        shares = np.zeros(self._shape)
        np.add.at(shares, (np.arange(len(found.columns)) % len(shares), found.columns), 1.0 / self._repeats)
        return shares


def plan(quality: Floats, cost: Floats, budget: float, volume: float) -> Floats:
    """Share of each request that each agent gets, float64 [n, m], within USD a month; at least the cheapest."""
    dealing = Dealing(quality, cost, volume)
    return dealing.chances(dealing.best(max(budget, dealing.usd(dealing.least()) * (1 + 1e-9))))


def _folds(history: AgentHistory) -> Ints:
    """Parts of whole days where there are enough of them, else of requests; int64 [n]."""
    days = np.unique(history.day)
    if len(days) >= FOLDS:
        return (np.searchsorted(days, history.day) % FOLDS).astype(np.int64)
    return (np.arange(len(history)) % FOLDS).astype(np.int64)


def replay(
    history: AgentHistory,
    left: npt.NDArray[np.bool_],
    budget: float,
    volume: float,
    *,
    level: float,
    replicates: int,
    seed: int,
) -> Replay:
    """The plan, made for each part of the log by what was learned on the others, and judged there.

    Args:
        history: the log.
        left: bool [m], agents that may answer.
        budget: USD a month.
        volume: requests of a month.
        level: of the intervals.
        replicates: of the bootstrap.
        seed: of the numpy Generator.
    """
    folds, units = _folds(history), history.units
    chances = np.zeros((len(history), len(history.agents)))
    quality = np.zeros_like(chances)
    for fold in np.unique(folds):
        here = folds == fold
        learned = expected_quality(history, ~here)
        quality[here] = learned[here]
        cost = np.where(left & np.isfinite(learned), history.cost, np.nan)
        rows = np.flatnonzero(here & np.isfinite(cost).any(axis=1))
        if len(rows):
            # Of the budget as much as the part has requests; at least what the cheapest cost.
            chances[rows] = plan(learned[rows], cost[rows], budget, volume)
    value, costs = policy_value(history, quality, chances)
    rows = np.arange(len(history))
    served = np.maximum(history.served, 0)
    seen = history.observed[rows, served]
    logged = np.where(np.isfinite(seen), seen, quality[rows, served])
    spent = np.where(np.isfinite(history.spent), history.spent, history.cost[rows, served])
    there = (history.served >= 0) & np.isfinite(logged) & np.isfinite(spent)
    planned = there & (chances.sum(axis=1) > 0.5)
    count = int(planned.sum())

    def over(rows: npt.NDArray[np.bool_], *columns: Floats) -> list[Interval]:
        table = np.stack(columns, axis=1)[rows]
        if not len(table):
            return [Interval(math.nan, math.nan, math.nan)] * len(columns)
        group = None if units is None else units[rows]
        drawn = paired_bootstrap(mean_statistics(table), len(table), group=group, replicates=replicates, seed=seed)
        return [drawn.interval(column, level=level) for column in range(len(columns))]

    means = over(planned, costs, value, spent, logged, spent - costs, value - logged)
    always = []
    for column, agent in enumerate(history.agents):
        alone = np.zeros_like(chances)
        alone[:, column] = 1.0
        known = there & left[column] & np.isfinite(history.cost[:, column]) & np.isfinite(quality[:, column])
        if known.any():
            worth, usd = policy_value(history, quality, alone)
            usd_mean, worth_mean, saved = over(known, usd, worth, usd - spent)
            n = int(known.sum())
            always.append(Always(agent, n, _times(usd_mean, n), worth_mean, _times(saved, n)))
    return Replay(
        requests=count,
        days=int(history.day.max() - history.day.min()) + 1,
        cost=_times(means[0], count),
        quality=means[1],
        cost_logged=_times(means[2], count),
        quality_logged=means[3],
        saved=_times(means[4], count),
        gained=means[5],
        agreed=float(chances[rows, served][planned].mean()) if count else 0.0,
        judged=float(np.isfinite(seen[planned]).mean()) if count else 0.0,
        unbiased=history.dealt is not None,
        always=tuple(sorted(always, key=lambda each: (each.cost.estimate, each.agent))),
    )


def _times(mean: Interval, count: int) -> Interval:
    return Interval(mean.estimate * count, mean.low * count, mean.high * count)
