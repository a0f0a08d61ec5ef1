"""What models cost and how long they take: measured on outcomes, or priced by the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

    Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CostSeen:
    """Where a model's costs were measured, and what bounds them beyond (``price.rs``).

    Attributes:
        tokens: of the prompts, fewest and most.
        verbosity: score of the requests, lowest and highest.
        cost: USD of a request, least and most.
        per_token: USD a prompt token, the lowest percentile of what was seen: a whole request per prompt token, so
            with the longest prompts for the shortest answers it comes close to the price of the prompt alone, and
            never below it. What a token costs beyond the prompts seen.
    """

    tokens: tuple[float, float]
    verbosity: tuple[float, float]
    cost: tuple[float, float]
    per_token: float

    @classmethod
    def of(cls, tokens: Floats, verbosity: Floats, cost: Floats) -> CostSeen:
        """What k rows show: float64 [k] each, k > 0."""

        def ends(values: Floats) -> tuple[float, float]:
            return float(values.min()), float(values.max())

        rate = cost / np.maximum(tokens, 1.0)
        return cls(ends(tokens), ends(verbosity), ends(cost), float(np.quantile(rate, 0.01, method="lower")))

    def header(self) -> dict[str, Any]:
        """As an artifact's header has it."""
        return {
            "tokens": list(self.tokens),
            "verbosity": list(self.verbosity),
            "cost": list(self.cost),
            "per_token": self.per_token,
        }


@dataclass(frozen=True, slots=True)
class CostHead:
    """cost_m = constant + per prompt token · tokens + per unit of verbosity · v(cues), in USD.

    Attributes:
        verbosity: float64 [CUES + 1], weights of the cues, then intercept.
        models: per model (constant, per token, per verbosity), or None where it has no costs.
        seen: per model, where its costs were measured; None where it has none.
    """

    verbosity: Floats
    models: tuple[tuple[float, float, float] | None, ...]
    seen: tuple[CostSeen | None, ...]

    def predict(self, features: FeatureTable) -> Floats:
        """Expected cost in USD, float64 [n, m]; NaN where unknown."""
        v = _verbosity(self.verbosity, features)
        seen = [None if each is None else each.header() for each in self.seen]
        return _core.measured_costs(list(zip(self.models, seen, strict=True)), features.tokens.astype(np.float64), v)


def fit_cost(outcomes: Outcomes, features: FeatureTable) -> CostHead:
    """Least squares of cost on prompt tokens and a shared verbosity score.

    The score is a ridge regression on cues of what tokens leave unexplained, in standard deviations, averaged
    over models: how much more than usual the models write for such a request.
    """
    count = features.cues.shape[1]
    nobody = tuple(None for _ in outcomes.models)
    none = CostHead(np.zeros(count + 1), nobody, nobody)
    if outcomes.cost is None:
        return none
    design = np.stack([np.ones(len(outcomes)), features.tokens.astype(np.float64)], axis=1)
    lines: list[Floats | None] = []
    excess = np.full(outcomes.cost.shape, np.nan)
    for column, cost in enumerate(outcomes.cost.T):
        seen = np.isfinite(cost)
        if seen.sum() < 2:
            lines.append(None)
            continue
        line = _line(design[seen], cost[seen], outcomes.weight[seen])
        lines.append(line)
        left = cost[seen] - design[seen] @ line
        excess[seen, column] = left / max(float(left.std()), 1e-12)
    known = np.isfinite(excess).any(1)
    if not known.any():
        return none
    target = np.nanmean(excess[known], axis=1)
    cues = features.cues[known].astype(np.float64)
    mean, deviation = cues.mean(0), cues.std(0)
    inverse = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0.0)
    standard = (cues - mean) * inverse
    left_side = standard.T @ standard + 0.1 * len(standard) * np.eye(count)
    weights = np.linalg.solve(left_side, standard.T @ (target - target.mean())) * inverse
    verbosity = np.append(weights, target.mean() - mean @ weights).astype(np.float32).astype(np.float64)
    v = _verbosity(verbosity, features)
    models: list[tuple[float, float, float] | None] = []
    bounds: list[CostSeen | None] = []
    for fitted, cost in zip(lines, outcomes.cost.T, strict=True):
        if fitted is None:
            models.append(None)
            bounds.append(None)
            continue
        seen = np.isfinite(cost)
        bounds.append(CostSeen.of(design[seen, 1], v[seen], cost[seen]))
        left = cost[seen] - design[seen] @ fitted
        variance = float(np.var(v[seen]))
        slope = 0.0
        if variance > 1e-12:
            slope = max(0.0, float(np.mean((v[seen] - v[seen].mean()) * left)) / variance)
        mean_v = float(v[seen].mean())
        models.append((float(fitted[0]) - slope * mean_v, float(fitted[1]), slope))
    return CostHead(verbosity, tuple(models), tuple(bounds))


def _verbosity(weights: Floats, features: FeatureTable) -> Floats:
    """The score as the engine computes it, float64 [n]."""
    return np.clip(features.cues.astype(np.float64) @ weights[:-1] + weights[-1], -20, 20)


def fit_latency(outcomes: Outcomes, features: FeatureTable) -> tuple[tuple[float, float] | None, ...]:
    """Least squares of latency on prompt tokens: per model (constant, per token), or None without latencies."""
    if outcomes.latency is None:
        return tuple(None for _ in outcomes.models)
    design = np.stack([np.ones(len(outcomes)), features.tokens.astype(np.float64)], axis=1)
    lines: list[tuple[float, float] | None] = []
    for latency in outcomes.latency.T:
        seen = np.isfinite(latency)
        if seen.sum() < 2:
            lines.append(None)
            continue
        constant, per_token = _line(design[seen], latency[seen], outcomes.weight[seen])
        lines.append((float(constant), float(per_token)))
    return tuple(lines)


def _line(design: Floats, values: Floats, weight: Floats) -> Floats:
    """Weighted least squares with a slope that is not negative: longer prompts do not cost less."""
    root = np.sqrt(weight)[:, None]
    line, *_ = np.linalg.lstsq(design * root, values * root[:, 0], rcond=None)
    if line[1] < 0 or not np.isfinite(line).all():
        return np.array([np.average(values, weights=weight), 0.0])
    return np.asarray(line)
