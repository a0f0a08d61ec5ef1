"""Policies: what they choose, which three bear names, and the path certificates walk from safest to cheapest."""

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

PolicyName = Literal["quality", "balanced", "cheapest"]
NAMES: tuple[PolicyName, ...] = ("quality", "balanced", "cheapest")
TOLERANCE = 0.02
"""Quality that the policy ``cheapest`` may give up, by its estimate plus one standard error."""

_CONSTANT = -1
_NOTHING = 0.001
"""Quality whose loss counts as none: no table of outcomes shows less."""
_EVIDENCE = 1.64
"""Standard errors by which a policy's gain must exceed what it is held to: a one-sided bound at 95 %."""
_AS_GOOD = 2.0
"""Standard errors of the paired difference within which two policies count as equally good."""


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
class Estimate:
    """What a policy gains on average.

    Attributes:
        gain: the mean of what was observed and what was expected.
        error: its standard error; that of what was observed is twice as large.
        observed: what was observed alone.
    """

    gain: float
    error: float
    observed: float

    def exceeds(self, bound: float) -> bool:
        """Whether the gain is shown to be above ``bound``: by both measures together, and by outcomes alone, as
        scores may be too sure of themselves.
        """
        return self.gain - _EVIDENCE * self.error >= bound and self.observed - _EVIDENCE * 2 * self.error >= bound


@dataclass(frozen=True, slots=True)
class Gain:
    """Quality gained row by row, by two measures of the same decisions.

    Outcomes are true and noisy; what calibrated out-of-fold scores expect has none of the outcomes' noise, and is
    as true as the scores. The estimate is the mean of both, which halves the noise; its standard error is the
    outcomes' share of it.

    Attributes:
        actual: float64 [n], as observed; NaN where one of the two models was not.
        expected: float64 [n], of the same rows.
        weight: float64 [n].
        unit: int64 [n], rows of a unit are not independent.
    """

    actual: Floats
    expected: Floats
    weight: Floats
    unit: Ints

    def less(self, other: Gain) -> Gain:
        """The paired difference, where both were observed."""
        return Gain(self.actual - other.actual, self.expected - other.expected, self.weight, self.unit)

    def estimate(self) -> Estimate:
        """The mean gain and its standard error over units; 0 and infinity where not even two were observed.

        One unit that lost everything may always have been missed: the error is at least 1 / units (as the rule of
        three has it for events that never happened).
        """
        seen = np.isfinite(self.actual) & np.isfinite(self.expected)
        unit = np.unique(self.unit[seen], return_inverse=True)[1]
        units = int(unit.max()) + 1 if len(unit) else 0
        if units < 2:
            return Estimate(0.0, np.inf, 0.0)
        weight = self.weight[seen] / self.weight[seen].sum()
        mean = float(weight @ self.actual[seen])
        by_unit = np.bincount(unit, weight * (self.actual[seen] - mean))
        error = float(np.sqrt(by_unit @ by_unit * units / (units - 1)))
        gain = (mean + float(weight @ self.expected[seen])) / 2
        return Estimate(gain, float(np.hypot(error, 1 / units)) / 2, mean)


@dataclass(frozen=True, slots=True)
class NamedPolicies:
    """The three policies that training fixes.

    Attributes:
        quality: the most quality.
        balanced: no quality given up.
        cheapest: at most :data:`TOLERANCE` given up.
        cost: mean cost of each, by name, relative to that of the best constant: in USD, or in its calls.
        best: what the best policy is estimated to gain over the best constant, in quality.
        units: independent units that it rests on.
    """

    quality: Policy
    balanced: Policy
    cheapest: Policy
    cost: Mapping[PolicyName, float]
    best: Estimate
    units: int

    def get(self, name: PolicyName) -> Policy:
        """The policy of this name."""
        found: Policy = getattr(self, name)
        return found

    def header(self, in_force: PolicyName) -> dict[str, Any]:
        """The ``policies`` field of an artifact's header."""
        return {"in_force": in_force, **{name: self.get(name).header() for name in NAMES}}

    def units_needed(self) -> int | None:
        """Independent units at which the best policy's gain would be evidence, were it what it seems, or None."""
        best = self.best
        if not (best.gain > 0 and best.observed > 0 and np.isfinite(best.error)):
            return None
        short = _EVIDENCE * best.error * max(1 / best.gain, 2 / best.observed)
        return int(np.ceil(self.units * short**2))


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
        group: int64 [n]; rows of a group are one unit of evidence. None: each row is one.
    """

    quality: Floats
    cost: Floats | None
    actual_quality: Floats
    actual_cost: Floats | None
    weight: npt.NDArray[np.float64]
    group: Ints | None = None

    def rows(self, mask: npt.NDArray[np.bool_]) -> HeldOut:
        """The same, of some rows."""
        return HeldOut(
            self.quality[mask],
            None if self.cost is None else self.cost[mask],
            self.actual_quality[mask],
            None if self.actual_cost is None else self.actual_cost[mask],
            self.weight[mask],
            None if self.group is None else self.group[mask],
        )

    def gain(self, decision: Ints, reference: int) -> Gain:
        """What each row gains by a decision over always ``reference``, as observed and as expected."""
        rows = np.arange(len(decision))
        actual = self.actual_quality[rows, decision] - self.actual_quality[:, reference]
        expected = self.quality[rows, decision] - self.quality[:, reference]
        return Gain(actual, np.where(np.isfinite(actual), expected, np.nan), self.weight, self.units())

    def units(self) -> Ints:
        """The independent unit of each row: its group, or itself."""
        return np.arange(len(self.weight)) if self.group is None else self.group

    def mean_cost(self, decision: Ints, best: int) -> float:
        """Mean USD a decision costs. Without costs, the share of calls to the better of two models; of more 0."""
        if self.actual_cost is None and self.quality.shape[1] > 2:
            return 0.0  # nobody can say which of them is cheaper
        if self.actual_cost is None:
            return float(np.average(decision == best, weights=self.weight))
        return float(np.average(self.actual_cost[np.arange(len(decision)), decision], weights=self.weight))


def best_constant(quality: Floats, cost: Floats | None, weight: Floats) -> int:
    """Index of the model with the highest mean quality; of equals the cheaper, then the first.

    ``quality`` has no gaps (:func:`tiny_dancer.evaluation.missing.observed`): means over other rows do not
    compare.
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
    growing cost weights, or quality alone where there are no costs. The constant policy itself is left out: it
    gives nothing up and saves nothing.
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


def choose_policies(path: list[Policy], held_out: HeldOut, best: int) -> NamedPolicies:
    """The policies that bear names, chosen on held-out rows by lower bounds; units of evidence are groups.

    A policy's gain over the best constant is estimated by :class:`Gain`, and a policy stands where the gain
    exceeds what it is held to by 1.64 standard errors (a one-sided bound at 95 %), also as outcomes alone have it:

    * ``quality``: of those shown to lose nothing (less than .001), the one that gains most.
    * ``balanced``: the cheapest of those that is not worse than ``quality`` by two standard errors of their paired
      difference. The best constant is among them, so that what costs more than it is chosen only if it is better
      by two standard errors. The cheapest policy that merely came out even would be the luckiest of fifty.
    * ``cheapest``: the cheapest whose estimated loss and one standard error are below :data:`TOLERANCE` together
      (a one-sided bound at 84 %): what it gives up is a choice, and certificates bound it where that matters.

    Each is the best constant where nothing is shown. Without costs and with more than two models quality alone
    decides: a model is not cheaper for not being the best constant.

    Args:
        path: of :func:`policy_path`; empty where nothing was learned or nothing can be compared.
        held_out: rows that no score was fitted on.
        best: index of the best constant.
    """
    m = held_out.quality.shape[1]
    # Kept beside a constant policy: calibration may replace it, and models without costs stay barred then.
    constant = Policy("constant", best, 0.0, "calls", path[0].cleared if path else (True,) * m)
    by_quality = [replace(path[0], level=0.0)] if path else []
    quality_alone = m > 2 and held_out.cost is None
    listed = by_quality if quality_alone else [*by_quality, *path]
    decided = [(policy, policy.decide(held_out.quality, held_out.cost)) for policy in listed]
    costed = [(policy, decision, held_out.mean_cost(decision, best)) for policy, decision in decided]
    # A threshold between two models of which one has no costs: nobody knows what it spends.
    costed = [each for each in costed if np.isfinite(each[2])]
    candidates = [policy for policy, _, _ in costed]
    gains = [held_out.gain(decision, best) for _, decision, _ in costed]
    estimates = [gain.estimate() for gain in gains]
    costs = [cost for _, _, cost in costed]
    always = np.full(len(held_out.weight), best, np.int64)
    dearest = held_out.mean_cost(always, best)
    units = len(np.unique(held_out.units()))

    def cheapest_of(numbers: list[int]) -> int:
        found = min(numbers, key=lambda number: costs[number], default=_CONSTANT)
        return _CONSTANT if found == _CONSTANT or costs[found] >= dearest else found

    def named(quality: int, balanced: int, cheapest: int, best_gain: Estimate) -> NamedPolicies:
        chosen = {"quality": quality, "balanced": balanced, "cheapest": cheapest}
        policies = {
            name: constant if number == _CONSTANT else candidates[number] for name, number in chosen.items()
        }
        cost = {
            name: 1.0 if chosen[name] == _CONSTANT or dearest <= 0 else costs[chosen[name]] / dearest
            for name in NAMES
        }
        return NamedPolicies(**policies, cost=cost, best=best_gain, units=units)

    tolerated = cheapest_of([i for i, each in enumerate(estimates) if each.gain - each.error >= -TOLERANCE])
    shown = [i for i, each in enumerate(estimates) if each.exceeds(-_NOTHING)]
    if not shown:
        most = max(estimates, key=lambda each: each.gain, default=Estimate(0.0, np.inf, 0.0))
        return named(_CONSTANT, _CONSTANT, _CONSTANT if quality_alone else tolerated, most)
    top = max(shown, key=lambda number: estimates[number].gain)
    most = estimates[top]
    highest = top if most.gain > 0 else _CONSTANT
    if quality_alone:
        return named(highest, highest, highest, most)

    def as_good(number: int) -> bool:
        less = gains[top].less(gains[number]).estimate()
        return less.gain <= _AS_GOOD * less.error

    equals = [number for number in shown if number == top or as_good(number)]
    balanced = cheapest_of(equals)
    if balanced == _CONSTANT and most.gain > _AS_GOOD * most.error:
        balanced = min(equals, key=lambda number: costs[number])
    return named(highest, balanced, tolerated, most)
