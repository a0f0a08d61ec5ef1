"""What models cost and how long they take: measured on outcomes, or priced by the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.routing.arguments import engine_prices, number, price_fields
from tiny_dancer.types import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

    Floats = npt.NDArray[np.float64]

PATH_STEPS = 50
"""Weights of cost between none and most."""


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
        # What cost nothing says nothing of a token's price, unless all of it did.
        rate = rate[rate > 0] if (rate > 0).any() else rate
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
        prices: per model the prices the user gave, which go before what was measured; None where there are none.
    """

    verbosity: Floats
    models: tuple[tuple[float, float, float] | None, ...]
    seen: tuple[CostSeen | None, ...]
    prices: tuple[ModelInfo | None, ...] = ()

    def predict(self, features: FeatureTable) -> Floats:
        """Expected cost in USD, float64 [n, m]; NaN where unknown."""
        v = verbosity_score(self.verbosity, features)
        seen = [None if each is None else each.header() for each in self.seen]
        lines = list(zip(self.models, seen, strict=True))
        cost = _core.measured_costs(lines, features.tokens.astype(np.float64), v).copy()
        for column, info in enumerate(self.prices):
            if info is not None:
                cost[:, column] = by_prices(info, features)
        return cost

    def header(self) -> list[dict[str, Any]]:
        """What an artifact's header says of each model's cost."""
        found = []
        for column, (line, seen) in enumerate(zip(self.models, self.seen, strict=True)):
            info = self.prices[column] if self.prices else None
            if info is not None:
                found.append({"cost": None, **price_fields(info)})
            elif seen is None:
                found.append({"cost": None})
            else:
                found.append({"cost": None if line is None else list(line), "cost_seen": seen.header()})
        return found


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
        line = fitted_line(design[seen], cost[seen], outcomes.weight[seen])
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
    v = verbosity_score(verbosity, features)
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


def verbosity_score(weights: Floats, features: FeatureTable) -> Floats:
    """The score as the engine computes it, float64 [n]."""
    score: Floats = np.clip(features.cues.astype(np.float64) @ weights[:-1] + weights[-1], -20, 20)
    return score


def cost_weights(cost: Floats | None) -> tuple[Floats, tuple[bool, ...] | None]:
    """Weights of cost from none to a hundred times what would trade all quality for it, and which models have
    costs.

    Where nobody knows what models cost, among more than two of them none can be said to be cheaper: quality alone
    decides, the only weight is 0, and no model is ruled out (None).

    Args:
        cost: expected USD, float64 [n, m], NaN columns where unknown; None where all are.
    """
    if cost is None:
        return np.zeros(1), None
    priced = np.asarray(np.isfinite(cost).all(0))
    spread = float(np.ptp(cost[:, priced].mean(0)))
    weights = np.geomspace(1e-3, 3.0, PATH_STEPS) / spread if spread > 0 else np.zeros(0)
    return np.append(0.0, weights), tuple(bool(flag) for flag in priced)


def price_list(models: Sequence[str], prices: Mapping[str, float | ModelInfo]) -> tuple[ModelInfo | None, ...]:
    """Prices in order of the models; a number is USD a request.

    Raises:
        OptionError: an unknown model, or prices that do not say what an answer costs.
    """
    unknown = [name for name in prices if name not in models]
    if unknown:
        raise OptionError("prices", unknown[0], f"the table's models are {', '.join(models)}")
    found: list[ModelInfo | None] = []
    for name in models:
        given = prices.get(name)
        if given is None:
            found.append(None)
            continue
        info = (
            given if isinstance(given, ModelInfo) else ModelInfo(cost_per_request=number(f"prices.{name}", given))
        )
        if not engine_prices(info).cost(0.0, info.expected_output_tokens or 0.0) and not _is_priced(info):
            raise OptionError(f"prices.{name}", "no price", "give USD a request, or of prompt and answer a token")
        if info.output_cost_per_token and info.expected_output_tokens is None:
            remedy = "say how long a usual answer is: outcomes tables do not"
            raise OptionError(f"prices.{name}.expected_output_tokens", "missing", remedy)
        found.append(info)
    return tuple(found)


def _is_priced(info: ModelInfo) -> bool:
    return info.cost_per_request is not None or info.input_cost_per_token is not None


def priced(outcomes: Outcomes, prices: tuple[ModelInfo | None, ...]) -> Outcomes:
    """The outcomes with costs by the prices given, in place of the table's.

    Raises:
        OptionError: some model would have a price or costs, and another neither.
    """
    if all(info is None for info in prices):
        return outcomes
    if outcomes.features is None:
        raise DataError("features", "none", "read the table with the engine's featuriser")
    cost = np.full(outcomes.quality.shape, np.nan) if outcomes.cost is None else outcomes.cost.copy()
    for column, info in enumerate(prices):
        if info is not None:
            cost[:, column] = by_prices(info, outcomes.features)
    without = [
        name
        for name, known in zip(outcomes.models, np.asarray(np.isfinite(cost).any(0)), strict=True)
        if not known
    ]
    if without:
        raise OptionError("prices", f"none of {', '.join(without)}", "give a price of every model without costs")
    return replace(outcomes, cost=cost)


def warnings(outcomes: Outcomes, head: CostHead, best: int) -> list[str]:
    """What is assumed of costs that the table does not have, a sentence each; nothing where it has them.

    Args:
        outcomes: the table, with the costs of the prices given.
        head: what was found of its costs.
        best: index of the best constant.
    """
    models = outcomes.models
    if len(models) < 2:
        return []
    without = [name for name, line in zip(models, head.models, strict=True) if line is None]
    if len(without) == len(models):
        if len(models) > 2:
            return ["the table has no costs, so quality alone decides; say what models cost to save some (prices)"]
        name = models[best]
        return [
            f"the table has no costs: {name}, the better of the two, is taken as the dearer one; else give prices"
        ]
    if not without:
        return []
    missing = f"the table has no costs of {', '.join(without)}"
    remedy = "add their costs, give prices (prices), or leave them out (models)"
    if models[best] in without:
        then = f"{models[best]}, the best constant, serves every request, as nothing can be shown to be cheaper"
    elif len(without) == len(models) - 1:
        then = f"{models[best]} serves every request, as no other can be weighed against it"
    else:
        which = "it is" if len(without) == 1 else "they are"
        then = f"{which} never chosen, however good, as the policy weighs cost"
    return [f"{missing}: {then}; {remedy}"]


def by_prices(info: ModelInfo, features: FeatureTable) -> Floats:
    """Expected USD of each request by a model's prices, float64 [n]."""
    prices = engine_prices(info)
    found = (prices.cost(float(tokens), info.expected_output_tokens) for tokens in features.tokens)
    return np.array([np.nan if cost is None else cost for cost in found])


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
        constant, per_token = fitted_line(design[seen], latency[seen], outcomes.weight[seen])
        lines.append((float(constant), float(per_token)))
    return tuple(lines)


def fitted_line(design: Floats, values: Floats, weight: Floats) -> Floats:
    """Weighted least squares with a slope that is not negative: longer prompts do not cost less."""
    root = np.sqrt(weight)[:, None]
    line, *_ = np.linalg.lstsq(design * root, values * root[:, 0], rcond=None)
    if line[1] < 0 or not np.isfinite(line).all():
        return np.array([np.average(values, weights=weight), 0.0])
    return np.asarray(line)
