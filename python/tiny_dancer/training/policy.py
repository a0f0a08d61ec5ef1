"""Policies: what they choose, which is the default, and the path certificates walk from safest to cheapest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.baselines import column_means
from tiny_dancer.training.costs import PATH_STEPS, cost_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_FEWEST_ROUTED = 10
"""Rows a model must be chosen for before held-out evidence can clear it."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How expectations become a choice; the engine holds the same (see ``artifact::Policy``).

    Attributes:
        kind: ``constant``, ``threshold`` (two models) or ``cost_weight``.
        best_constant: index of the model that is best for all requests; a threshold's strong model.
        level: the threshold on the gain, or the cost weight; unused by a constant.
        unit: what a cost weight counts, ``usd`` or ``calls`` (of the best constant).
        cleared: per model, whether held-out evidence allows leaving the best constant for it.
        guard_margin: value by which a model must beat the best constant.
    """

    kind: Literal["constant", "threshold", "cost_weight"]
    best_constant: int
    level: float
    unit: Literal["usd", "calls"]
    cleared: tuple[bool, ...]
    guard_margin: float = 0.0

    def header(self) -> dict[str, Any]:
        """The ``policy`` field of an artifact's header."""
        if self.kind == "constant":
            return {"kind": "constant", "model": self.best_constant}
        if self.kind == "threshold":
            weak = 1 - self.best_constant
            return {"kind": "threshold", "weak": weak, "strong": self.best_constant, "threshold": self.level}
        return {"kind": "cost_weight", "cost_weight": self.level, "unit": self.unit}

    def decide(self, quality: Floats, cost: Floats | None) -> Ints:
        """The model chosen for each row, as the engine chooses: int64 [n].

        Args:
            quality: expected quality, float64 [n, m].
            cost: expected cost in USD, float64 [n, m], NaN where unknown; needed for the unit ``usd``.
        """
        return _core.policy_choices(
            self.header(),
            best_constant=self.best_constant,
            cleared=self.cleared,
            guard_margin=self.guard_margin,
            quality=quality,
            cost=cost,
        )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Expectations and outcomes of the same rows.

    Attributes:
        quality: expected, float64 [n, m].
        cost: expected in USD, float64 [n, m], or None.
        actual_quality: float64 [n, m]; where something was not observed, augmented by inverse propensity
            (:mod:`tiny_dancer.evaluation.missing`), so that means and errors over all rows are fair.
        actual_cost: float64 [n, m] USD with gaps filled by expectations, or None.
        weight: float64 [n].
    """

    quality: Floats
    cost: Floats | None
    actual_quality: Floats
    actual_cost: Floats | None
    weight: npt.NDArray[np.float64]

    def rows(self, mask: npt.NDArray[np.bool_]) -> HeldOut:
        """The same, of some rows."""
        return HeldOut(
            self.quality[mask],
            None if self.cost is None else self.cost[mask],
            self.actual_quality[mask],
            None if self.actual_cost is None else self.actual_cost[mask],
            self.weight[mask],
        )

    def quality_gained(self, decision: Ints, reference: int) -> tuple[Floats, Floats]:
        """Quality of each decision less the reference's, where both were observed; with those rows' weights."""
        rows = np.arange(len(decision))
        difference = self.actual_quality[rows, decision] - self.actual_quality[:, reference]
        seen = np.isfinite(difference)
        return difference[seen], self.weight[seen]

    def mean_cost(self, decision: Ints, best: int) -> float:
        """Mean USD a decision costs. Without costs, the share of calls to the better of two models; of more 0."""
        if self.actual_cost is None and self.quality.shape[1] > 2:
            return 0.0  # nobody can say which of them is cheaper
        if self.actual_cost is None:
            return float(np.average(decision == best, weights=self.weight))
        return float(np.average(self.actual_cost[np.arange(len(decision)), decision], weights=self.weight))


def best_constant(quality: Floats, cost: Floats | None, weight: Floats) -> int:
    """Index of the model with the highest mean quality; of equals the cheaper, then the first.

    ``quality`` has no gaps (:func:`tiny_dancer.evaluation.missing.observed`): means over other rows do not compare.
    """
    mean = np.nan_to_num(column_means(quality, weight), nan=-1.0)
    price = np.zeros(len(mean))
    if cost is not None:
        price = np.array([np.nanmean(c) if np.isfinite(c).any() else np.inf for c in cost.T])
    return int(np.lexsort((np.arange(len(mean)), price, -mean))[0])


def policy_of(header: Mapping[str, Any]) -> Policy:
    """The policy in an artifact's header."""
    models = header["models"]
    best: int = header["best_constant"]
    cleared = tuple(bool(model["cleared"]) for model in models)
    policy = header["policy"]
    if policy["kind"] == "threshold":
        return Policy("threshold", policy["strong"], policy["threshold"], "calls", cleared)
    if policy["kind"] == "cost_weight":
        margin = header["guard_margin"]
        return Policy("cost_weight", best, policy["cost_weight"], policy["unit"], cleared, margin)
    return Policy("constant", policy["model"], 0.0, "calls", cleared)


def policies_of(header: Mapping[str, Any]) -> list[Policy]:
    """The path from safest to cheapest that training fixed; empty where the artifact is a constant."""
    levels: list[float] = header.get("policy_path", [])
    models = header["models"]
    best: int = header["best_constant"]
    cleared = tuple(bool(model["cleared"]) for model in models)
    if len(models) == 2:
        return [Policy("threshold", best, level, "calls", cleared) for level in levels]
    prices = ("price_input", "price_output", "price_request")
    priced = models[best]["cost"] is not None or any(models[best].get(name) is not None for name in prices)
    unit: Literal["usd", "calls"] = "usd" if priced else "calls"
    return [Policy("cost_weight", best, level, unit, cleared, header["guard_margin"]) for level in levels]


def policy_path(held_out: HeldOut, best: int) -> list[Policy]:
    """Policies from safest to cheapest, fixed by training so that certificates may walk them.

    Two models: thresholds that call the best constant for 98 %, 96 %, … 0 % of the training requests. More:
    growing cost weights, or quality alone where there are no costs. The constant policy itself is left out: it gives
    nothing up and saves nothing.
    """
    m = held_out.quality.shape[1]
    if m == 1:
        return []
    if m == 2:
        gain = held_out.quality[:, best] - held_out.quality[:, 1 - best]
        shares = np.arange(1, PATH_STEPS + 1) / PATH_STEPS
        levels = np.unique(np.append(np.quantile(gain, shares[:-1]), gain.max() + 1e-3))
        start = Policy("threshold", best, 0.0, "calls", (True, True))
        return [replace(start, level=float(level)) for level in levels]
    weights, priced = cost_weights(held_out.cost)
    start = Policy("cost_weight", best, 0.0, "usd", priced or (True,) * m)
    return [replace(start, level=float(weight)) for weight in np.unique(weights)]


def with_clearance(policy: Policy, held_out: HeldOut) -> Policy:
    """The policy with those models uncleared for which held-out rows do not show that leaving pays.

    A model is cleared if, on the rows it is chosen for, its value (quality less weighted cost) exceeds the best
    constant's by at least one standard error. Removing one moves its rows to others, so this runs until nothing
    changes.
    """
    if policy.kind != "cost_weight":
        return policy
    best = policy.best_constant
    while True:
        decision = policy.decide(held_out.quality, held_out.cost)
        cleared = list(policy.cleared)
        for model in range(len(cleared)):
            if model != best and cleared[model]:
                cleared[model] = _pays(policy, held_out, decision == model, model)
        if tuple(cleared) == policy.cleared:
            return policy
        policy = replace(policy, cleared=tuple(cleared))


def _pays(policy: Policy, held_out: HeldOut, rows: npt.NDArray[np.bool_], model: int) -> bool:
    gained = held_out.actual_quality[rows, model] - held_out.actual_quality[rows, policy.best_constant]
    if policy.unit == "calls":
        gained = gained + policy.level
    elif held_out.actual_cost is not None:
        cost = held_out.actual_cost[rows]
        gained = gained + policy.level * (cost[:, policy.best_constant] - cost[:, model])
    seen = np.isfinite(gained)
    gained, weight = gained[seen], held_out.weight[rows][seen]
    if len(gained) < _FEWEST_ROUTED:
        return False
    return better_beyond_chance(gained, weight)


def better_beyond_chance(gained: Floats, weight: Floats) -> bool:
    """Whether the weighted mean of ``gained`` [n] is at least one standard error, be it 0."""
    mean = np.average(gained, weights=weight)
    error = np.sqrt(np.sum((weight / weight.sum()) ** 2 * (gained - mean) ** 2))
    return bool(mean >= error)


def default_policy(path: list[Policy], held_out: HeldOut, best: int) -> Policy:
    """The cheapest policy of the path whose held-out quality is not below the best constant's.

    The constant policy where none is both as good and cheaper. Being the cheapest of many that come out even, it
    has also been lucky: expect a little less on new requests, and certify what matters.
    """
    m = held_out.quality.shape[1]
    # Kept beside a constant policy: calibration may replace it, and models without costs stay barred then.
    chosen = Policy("constant", best, 0.0, "calls", path[0].cleared if path else (True,) * m)
    least = held_out.mean_cost(chosen.decide(held_out.quality, held_out.cost), best)
    for candidate in path:
        policy = with_clearance(candidate, held_out)
        decision = policy.decide(held_out.quality, held_out.cost)
        cost = held_out.mean_cost(decision, best)
        gained, weight = held_out.quality_gained(decision, best)
        if not len(gained):
            continue
        if held_out.actual_cost is None and m > 2:
            # Nothing to save: the best constant is left where that is better by more than chance.
            if weight @ gained > 0 and better_beyond_chance(gained, weight):
                chosen = policy
        elif float(weight @ gained) >= 0 and cost < least:
            chosen, least = policy, cost
    return chosen
