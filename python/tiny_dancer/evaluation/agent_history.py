"""What was logged of requests and of the agents that answer them, and the quality to expect of each agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

PRIOR_WEIGHT = 5.0
"""Outcomes that a declared quality, or what a router expects, is worth."""

FEW_DAYS = 8
"""Days below which requests are resampled instead of them."""


@dataclass(frozen=True, slots=True, eq=False)
class AgentHistory:
    """What was logged of n requests, and of the m agents that might answer such ones.

    Attributes:
        agents: m names.
        cost: float64 [n, m], USD that each agent would cost; NaN where it must not answer, or nobody knows.
        served: int64 [n], the agent that answered; -1 where it is none of these.
        spent: float64 [n], USD that the request cost; NaN where nobody knows.
        scores: float64 [n, m], expected quality as it was logged; NaN where it was not.
        observed: float64 [n, m], quality seen: feedback, outcomes; NaN where there is none.
        latency: float64 [n], seconds until it was answered; NaN where nobody knows.
        day: int64 [n], days since 1970.
        declared: float64 [m], quality an agent's owner has declared; NaN where nobody has.
        weight: float64 [m], outcomes that a declaration, or an expected quality, is worth.
        timing: float64 [m], seconds that its owner has declared, for those never timed; NaN where nobody has.
        dealt: float64 [n], chance that the agent that answered was given the request, where agents were drawn at
            random; None where they were chosen.
        removed: by agent, what removes it before anything is weighed.
    """

    agents: tuple[str, ...]
    cost: Floats
    served: Ints
    spent: Floats
    scores: Floats
    observed: Floats
    latency: Floats
    day: Ints
    declared: Floats
    weight: Floats
    timing: Floats
    dealt: Floats | None = None
    removed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cost.ndim != 2:
            raise DataError("cost", self.cost.shape, "give a table of requests x agents")
        rows, agents = self.cost.shape
        if agents != len(self.agents) or len(set(self.agents)) != agents:
            raise DataError("agents", f"{len(self.agents)} for {agents} columns", "name each agent once")
        for name in ("scores", "observed"):
            values = getattr(self, name)
            if values.shape != (rows, agents):
                raise DataError(name, values.shape, f"give {rows} x {agents}, NaN where nothing is known")
            if np.nanmin(values, initial=0.0) < 0 or np.nanmax(values, initial=0.0) > 1:
                raise DataError(name, "outside 0 to 1", "give qualities from 0 to 1")
        for name in ("served", "spent", "latency", "day", "dealt"):
            values = getattr(self, name)
            if values is not None and values.shape != (rows,):
                raise DataError(name, values.shape, f"give {rows}, one a request")
        for name in ("declared", "weight", "timing"):
            if getattr(self, name).shape != (agents,):
                raise DataError(name, getattr(self, name).shape, f"give {agents}, one an agent")
        if np.nanmin(self.cost, initial=0.0) < 0 or np.isinf(self.cost).any():
            raise DataError("cost", "negative or infinite", "give USD, 0 or more; NaN where nobody knows")
        if self.dealt is not None and not ((self.dealt > 0) & (self.dealt <= 1)).all():
            raise DataError("dealt", "outside 0 to 1", "give the chance, above 0, that the agent was drawn with")

    def __len__(self) -> int:
        return len(self.served)

    @property
    def units(self) -> Ints | None:
        """What is resampled: whole days, or None for requests where there are few days."""
        return self.day if len(np.unique(self.day)) >= FEW_DAYS else None

    def basis(self, column: int) -> str:
        """What an agent's quality rests on."""
        scored = bool(np.isfinite(self.scores[:, column]).any())
        seen = bool(np.isfinite(self.observed[:, column]).any())
        if scored:
            return "scores and outcomes" if seen else "scores"
        return "outcomes" if seen else "declared" if np.isfinite(self.declared[column]) else "nothing"


def expected_quality(history: AgentHistory, learn: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Quality to expect of each agent on each request, float64 [n, m]; NaN of agents nobody knows anything of.

    What was logged as expected, moved by how far outcomes lie above or below it; where nothing was logged, their
    mean. Both as if what was expected or declared had been seen ``weight`` times.

    Args:
        history: the log.
        learn: bool [n], the requests whose outcomes may be used; all by default.
    """
    seen = np.isfinite(history.observed)
    if learn is not None:
        seen = seen & learn[:, None]
    found = np.full(history.cost.shape, np.nan)
    known = np.isfinite(history.scores)
    usual = np.where(known, history.scores, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    chance = np.ones(len(history)) if history.dealt is None else 1.0 / history.dealt
    for column in range(len(history.agents)):
        scores, there = history.scores[:, column], seen[:, column]
        count = int(there.sum())
        # Where agents were dealt at random, rarer ones count for the requests they were not given.
        weights = chance[there] * (count / chance[there].sum()) if count else np.zeros(0)
        outcomes, worth = history.observed[there, column], history.weight[column]
        if np.isfinite(scores).any():
            mean = float(np.nanmean(scores))
            base = np.where(np.isfinite(scores), scores, mean)
            found[:, column] = np.clip(_moved(base, usual, there, outcomes, weights, worth), 0.0, 1.0)
        elif np.isfinite(history.declared[column]):
            total = worth * history.declared[column] + float(weights @ outcomes)
            found[:, column] = total / (worth + count) if worth + count > 0 else np.nan
        elif count:
            found[:, column] = (0.5 + float(weights @ outcomes)) / (1.0 + count)
    return found


def _moved(
    scores: Floats,
    usual: Floats,
    there: npt.NDArray[np.bool_],
    outcomes: Floats,
    weights: Floats,
    worth: float,
) -> Floats:
    """Scores moved to where outcomes lie, as if they had been right ``worth`` times: ridge regression.

    Of scores that are off by chance the highest is off upwards, and what is chosen disappoints: a slope below 1
    takes that back. What all agents are expected to reach on a request (``usual``) tells how hard it is with less
    noise than the score of one.
    """
    if not len(outcomes):
        return scores
    means = np.array([weights @ scores[there], weights @ usual[there]]) / len(outcomes)
    around = np.stack([scores, usual], axis=1) - means
    level = (float(weights @ outcomes) + worth * means[0]) / (len(outcomes) + worth)
    left = outcomes - weights @ outcomes / len(outcomes)
    # As many pretended requests on which the score is right, of the spread that all have.
    prior = worth * np.cov(around, rowvar=False, bias=True)
    seen = around[there]
    gram = seen.T @ (weights[:, None] * seen) + prior
    slopes = np.linalg.lstsq(gram, seen.T @ (weights * left) + prior[:, 0], rcond=1e-9)[0]
    found: Floats = level + around @ slopes
    return found
