"""A month's budget over agents: who should get which share of the requests, by what was logged of earlier ones.

The logged requests stand for those to come. Each is given to one agent, so that the mean expected quality is the
highest that the budget pays for: the linear programme of :func:`tiny_dancer.routing.agents.assign`, not a share in
proportion to scores.
What that would have meant is replayed (:mod:`tiny_dancer.evaluation.replay`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError, NoFeasibleModelError, OptionError
from tiny_dancer.evaluation.agent_history import FEW_DAYS, expected_quality
from tiny_dancer.evaluation.bootstrap import Interval, mean_statistics, paired_bootstrap
from tiny_dancer.evaluation.replay import Dealing, Replay, replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.evaluation.agent_history import AgentHistory
    from tiny_dancer.routing.agents import Assignment

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_POINTS = 12


@dataclass(frozen=True, slots=True)
class AgentShare:
    """What one agent gets of a budget.

    Attributes:
        agent: its name.
        share: of the requests.
        requests: in a month.
        cost: USD in a month.
        quality: mean of the requests it gets; without bounds where none of them was ever judged.
        latency: mean seconds, or None where it was never seen to answer.
        quality_per_usd: wholly good answers that a USD spent on it brings more than the cheapest agent would;
            None where it gets nothing or is no dearer.
        basis: what its quality rests on: ``outcomes``, ``scores``, ``scores and outcomes`` or ``declared``.
        seen: outcomes of it.
        removed: why it gets nothing; empty where it does, or where others are worth more.
    """

    agent: str
    share: float
    requests: Interval
    cost: Interval
    quality: Interval
    latency: Interval | None
    quality_per_usd: float | None
    basis: str
    seen: int
    removed: str


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a budget buys.

    Attributes:
        budget: USD a month.
        quality: mean.
        quality_per_usd: wholly good answers that one USD more would bring; 0 where it brings none.
    """

    budget: float
    quality: float
    quality_per_usd: float


@dataclass(frozen=True, slots=True)
class Allocation:
    """A budget over agents.

    Attributes:
        budget: USD a month.
        volume: requests a month.
        agents: what each gets, those with the most requests first.
        cost: USD a month.
        quality: mean.
        latency: mean seconds, or None where nobody knows that of all who get something.
        quality_per_usd: wholly good answers that one USD more a month would bring.
        sufficient: whether the quality asked for is reached.
        least_budget: USD a month that suffice for it; without it, for answering everything.
        best_quality: that any budget reaches.
        curve: what other budgets buy, from the least to the most that is of use.
        replay: what the plan would have meant.
        unknown: what cannot be known from this history, in sentences.
    """

    budget: float
    volume: Interval
    agents: tuple[AgentShare, ...]
    cost: Interval
    quality: Interval
    latency: Interval | None
    quality_per_usd: float
    sufficient: bool
    least_budget: float
    best_quality: float
    curve: tuple[CurvePoint, ...]
    replay: Replay
    unknown: tuple[str, ...]


def allocate(
    history: AgentHistory,
    *,
    monthly_budget: float,
    volume: Interval,
    quality_threshold: float | None = None,
    latency_threshold: float | None = None,
    level: float = 0.9,
    replicates: int = 1000,
    seed: int = 0,
) -> Allocation:
    """Gives a month's budget to agents.

    Args:
        history: logged requests that stand for those to come.
        monthly_budget: USD.
        volume: requests to expect in a month.
        quality_threshold: what the mean quality has to reach.
        latency_threshold: most mean seconds of an agent; those slower, or never timed, are removed.
        level: of the intervals.
        replicates: of the bootstrap over days.
        seed: of the numpy Generator.

    Raises:
        DataError: no requests, or none that an agent could answer.
        OptionError: a budget, threshold, volume or level that cannot be.
        NoFeasibleModelError: no agent is left; the budget does not pay the cheapest agents; or no budget reaches
            the quality. It says what would do.
    """
    _check(history, monthly_budget, volume, quality_threshold, latency_threshold, level)
    quality = expected_quality(history)
    latency = _latencies(history)
    removed = _removed(history, quality, latency, latency_threshold)
    left = np.array([agent not in removed for agent in history.agents])
    if not left.any():
        said = "; ".join(f"{agent}: {why}" for agent, why in removed.items())
        raise NoFeasibleModelError("agents", said, "allow slower agents, declare qualities, or log more requests")
    cost = np.where(left & np.isfinite(quality), history.cost, np.nan)
    able = np.atleast_1d(np.isfinite(cost).any(axis=1))
    if not able.any():
        raise DataError("cost", "no request has an agent with a price", "give agents prices")
    dealing = Dealing(quality[able], cost[able], volume.estimate)
    highest, least = dealing.best(None), dealing.least()
    suffices = dealing.usd(least)
    if monthly_budget < suffices * (1 - 1e-9):
        raise NoFeasibleModelError(
            "monthly_budget",
            f"{monthly_budget:.6g} USD for about {volume.estimate:,.0f} requests",
            f"the cheapest agents alone cost {suffices:.6g} USD: raise it, or answer fewer",
        )
    if quality_threshold is not None:
        if quality_threshold > highest.quality + 1e-9:
            raise NoFeasibleModelError(
                "quality_threshold",
                f"{quality_threshold:.6g}",
                f"these agents reach {highest.quality:.6f} at most: ask for less, or add better ones",
            )
        suffices = dealing.usd(dealing.least(min(quality_threshold, highest.quality)))
    found = dealing.best(max(monthly_budget, dealing.usd(least) * (1 + 1e-9)))
    chances = np.zeros((len(history), len(history.agents)))
    chances[able] = dealing.chances(found)
    parts = _Parts(history, quality, chances, able, history.units, volume, level, replicates, seed)
    replayed = replay(
        history, left, monthly_budget, volume.estimate, level=level, replicates=replicates, seed=seed
    )
    return Allocation(
        budget=float(monthly_budget),
        volume=volume,
        agents=tuple(sorted(parts.agents(removed), key=lambda each: (-each.share, each.agent))),
        cost=parts.total_cost(),
        quality=parts.mean_quality(),
        latency=parts.mean_latency(latency),
        quality_per_usd=_more(found, highest),
        sufficient=quality_threshold is None or found.quality >= quality_threshold - 1e-6,
        least_budget=suffices,
        best_quality=highest.quality,
        curve=_curve(dealing, least, highest),
        replay=replayed,
        unknown=_unknown(history, removed, int((~able).sum())),
    )


def _curve(dealing: Dealing, least: Assignment, highest: Assignment) -> tuple[CurvePoint, ...]:
    # Of those that are best, the cheapest says from which budget on more is of no use.
    low, enough = dealing.usd(least), dealing.usd(dealing.least(highest.quality - 1e-9))
    points = []
    for budget in np.linspace(low, enough, _POINTS if enough > low else 1).tolist():
        found = dealing.best(budget * (1 + 1e-9) + 1e-12)
        points.append(CurvePoint(budget, found.quality, _more(found, highest)))
    return tuple(points)


def _more(found: Assignment, highest: Assignment) -> float:
    """What one USD more would bring: nothing where there is nothing better."""
    return 0.0 if found.quality >= highest.quality - 1e-9 else float(found.multiplier)


def _check(
    history: AgentHistory,
    budget: float,
    volume: Interval,
    quality: float | None,
    latency: float | None,
    level: float,
) -> None:
    if not len(history) or not history.agents:
        raise DataError("history", f"{len(history)} requests", "log requests first, or look further back")
    if not (math.isfinite(budget) and budget >= 0):
        raise OptionError("monthly_budget", budget, "give USD, 0 or more")
    if quality is not None and not 0 <= quality <= 1:
        raise OptionError("quality_threshold", quality, "give a mean quality from 0 to 1")
    if latency is not None and not (latency > 0 and math.isfinite(latency)):
        raise OptionError("latency_threshold", latency, "give a time above 0: nothing takes none")
    if not (0 < volume.estimate < math.inf):
        raise OptionError("volume", volume.estimate, "give requests a month, above 0")
    if not 0.5 <= level < 1:
        raise OptionError("level", level, "give a level from 0.5 to below 1, such as 0.9")


def _latencies(history: AgentHistory) -> Floats:
    """Mean seconds of each agent, float64 [m], as seen, else as declared; NaN where nobody knows."""
    found = history.timing.copy()
    timed = np.isfinite(history.latency)
    for agent in range(len(found)):
        mine = timed & (history.served == agent)
        if mine.any():
            found[agent] = history.latency[mine].mean()
    return found


def _removed(history: AgentHistory, quality: Floats, latency: Floats, threshold: float | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for column, agent in enumerate(history.agents):
        if agent in history.removed:
            found[agent] = history.removed[agent]
        elif not np.isfinite(history.cost[:, column]).any():
            found[agent] = "cost_unknown"
        elif not np.isfinite(quality[:, column]).any():
            found[agent] = "quality_unknown"
        elif threshold is not None and not np.isfinite(latency[column]):
            found[agent] = "latency_unknown"
        elif threshold is not None and latency[column] > threshold:
            found[agent] = f"latency: {latency[column] * 1000:,.0f} ms on average"
    return found


class _Parts:
    """What each agent's part comes to, with intervals over days and over the volume of a month."""

    def __init__(
        self,
        history: AgentHistory,
        quality: Floats,
        chances: Floats,
        able: npt.NDArray[np.bool_],
        days: Ints | None,
        volume: Interval,
        level: float,
        replicates: int,
        seed: int,
    ) -> None:
        self._history, self._chances, self._able, self._level = history, chances, able, level
        self._quality = np.where(chances > 0, quality, 0.0)
        cost = np.where(chances > 0, history.cost, 0.0)
        agents = len(history.agents)
        columns = np.concatenate([chances, chances * cost, chances * self._quality, able[:, None]], axis=1)
        sums = mean_statistics(columns)

        def statistics(weights: Floats) -> Floats:
            means = sums(weights)
            share = means[:, : 3 * agents] / means[:, -1:]
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = share[:, 2 * agents :] / share[:, :agents]
            return np.concatenate(
                [share[:, : 2 * agents], mean, share[:, agents : 2 * agents].sum(1, keepdims=True),
                 share[:, 2 * agents :].sum(1, keepdims=True)], axis=1,
            )  # fmt: skip

        self._drawn = paired_bootstrap(statistics, len(history), group=days, replicates=replicates, seed=seed)
        self._volume = _drawn_volume(volume, replicates, seed)
        self._estimate = volume.estimate
        self._sums = agents

    def _monthly(self, column: int) -> Interval:
        values = self._drawn.replicates[:, column] * self._volume
        estimate = float(self._drawn.estimate[column]) * self._estimate
        return _between(estimate, values, self._level)

    def total_cost(self) -> Interval:
        return self._monthly(3 * self._sums)

    def mean_quality(self) -> Interval:
        values = self._drawn.replicates[:, 3 * self._sums + 1]
        return _between(float(self._drawn.estimate[3 * self._sums + 1]), values, self._level)

    def mean_latency(self, latency: Floats) -> Interval | None:
        share = self._drawn.estimate[: self._sums]
        if not np.isfinite(latency[share > 0]).all():
            return None
        known = np.nan_to_num(latency)
        values = self._drawn.replicates[:, : self._sums] @ known
        return _between(float(share @ known), values, self._level)

    def agents(self, removed: Mapping[str, str]) -> list[AgentShare]:
        cheapest = np.where(self._able, np.nan_to_num(_columns_min(self._history.cost)[0]), 0.0)
        first = _columns_min(self._history.cost)[1]
        rows = np.arange(len(self._history))
        whole = expected_quality(self._history)
        base = np.nan_to_num(whole[rows, first])
        found = []
        for column, agent in enumerate(self._history.agents):
            chance = self._chances[:, column]
            seen = int(np.isfinite(self._history.observed[:, column]).sum())
            gets = float(self._drawn.estimate[column])
            more = chance @ (np.nan_to_num(self._history.cost[:, column]) - cheapest)
            gain = chance @ (self._quality[:, column] - base)
            quality = Interval(math.nan, math.nan, math.nan)
            if gets > 0:
                mean = float(self._drawn.estimate[2 * self._sums + column])
                quality = Interval(mean, *_outcome_bounds(self._history, column, mean, self._level))
            timed = self._history.latency[(self._history.served == column) & np.isfinite(self._history.latency)]
            found.append(
                AgentShare(
                    agent=agent,
                    share=gets,
                    requests=self._monthly(column),
                    cost=self._monthly(self._sums + column),
                    quality=quality,
                    latency=_mean_interval(timed, self._level) if len(timed) else None,
                    quality_per_usd=float(gain / more) if gets > 0 and more > 1e-12 else None,
                    basis=self._history.basis(column),
                    seen=seen,
                    removed=removed.get(agent, ""),
                )
            )
        return found


def _columns_min(cost: Floats) -> tuple[Floats, Ints]:
    filled = np.where(np.isfinite(cost), cost, np.inf)
    place = filled.argmin(axis=1)
    least = filled[np.arange(len(cost)), place]
    return np.where(np.isfinite(least), least, np.nan), place


def _drawn_volume(volume: Interval, replicates: int, seed: int) -> Floats:
    """Requests of a month, float64 [replicates]: log-normal within the interval, taken to be of 90 %."""
    if not (0 < volume.low <= volume.high):
        return np.full(replicates, volume.estimate)
    spread = math.log(volume.high / volume.low) / (2 * 1.645)
    drawn: Floats = np.exp(
        np.log(volume.estimate) + spread * np.random.default_rng(seed).standard_normal(replicates)
    )
    return drawn


def _between(estimate: float, values: Floats, level: float) -> Interval:
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(estimate, math.nan, math.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(estimate, float(low), float(high))


def _mean_interval(values: Floats, level: float) -> Interval:
    return paired_bootstrap(mean_statistics(values[:, None]), len(values), replicates=400).interval(0, level=level)


def _outcome_bounds(history: AgentHistory, column: int, mean: float, level: float) -> tuple[float, float]:
    """Bounds of an agent's quality by its outcomes, about the mean expected; NaN where nobody has judged it."""
    seen = history.observed[:, column]
    seen = seen[np.isfinite(seen)]
    if len(seen) < 2:
        return math.nan, math.nan
    values = seen[:, None]
    drawn = paired_bootstrap(
        mean_statistics(values), len(seen), replicates=400, means_of=(values, np.zeros(1), np.ones(1))
    ).interval(0, level=level)
    return max(mean + drawn.low - drawn.estimate, 0.0), min(mean + drawn.high - drawn.estimate, 1.0)


def _unknown(history: AgentHistory, removed: Mapping[str, str], unpriced: int) -> tuple[str, ...]:
    """What cannot be known from this history, in sentences."""
    found = []
    for column, agent in enumerate(history.agents):
        basis = history.basis(column)
        tried = bool((history.served == column).any())
        if removed.get(agent) in ("cost_unknown", "quality_unknown", "latency_unknown"):
            word = removed[agent].removesuffix("_unknown")
            found.append(f"{agent} gets nothing: nobody knows its {word}")
        elif agent in removed:
            continue
        elif basis == "declared":
            found.append(f"{agent}: its quality is what was declared; no answer of it was judged")
        elif basis == "scores":
            found.append(f"{agent}: its quality is what the router expects; no answer of it was judged")
        elif not tried:
            found.append(f"{agent} has answered none of these requests: what it costs is reckoned, not seen")
    if history.dealt is None:
        found.append(
            "agents were chosen, not dealt at random: what others would have answered is expected, not seen"
        )
    if unpriced:
        found.append(f"{unpriced:,} requests could go to no agent with a known cost and quality, and are left out")
    if len(np.unique(history.day)) < FEW_DAYS:
        found.append("few days are logged: intervals are over requests, and know nothing of how days differ")
    return tuple(found)
