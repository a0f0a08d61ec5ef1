"""What a router has to beat, each as row-wise expected quality and cost of a policy.

Random choices (mixes, shuffles) enter by their expected value, so they carry no noise of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.metrics import hull_indices
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable, Outcomes

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

RIDGE_STRENGTHS = (1.0, 3.0, 10.0, 30.0)
SWEEP_STEPS = 96


@dataclass(frozen=True, slots=True)
class PolicyRows:
    """A policy on n requests.

    Attributes:
        quality: float64 [n], expected quality; NaN where the model chosen was not observed.
        cost: float64 [n], expected cost in the table's unit.
    """

    quality: Floats
    cost: Floats


@dataclass(frozen=True, slots=True)
class CostTable:
    """What each choice costs.

    Attributes:
        cost: float64 [n, m], no NaN.
        unit: ``USD``, ``calls of <model>`` (of two without costs) or ``calls`` (of more).
        notes: what had to be filled in, in words.
    """

    cost: Floats
    unit: str
    notes: tuple[str, ...]


def column_means(values: Floats, weight: Floats) -> Floats:
    """Weighted mean of each column over its observed rows, float64 [m]; NaN where none is."""
    observed = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Floats = (weight @ np.where(observed, values, 0.0)) / (weight @ observed.astype(np.float64))
    return means


def best_constant(quality: Floats, weight: Floats) -> int:
    """The model with the highest mean quality, the first of equals; DataError where none is observed."""
    means = column_means(quality, weight)
    if np.isnan(means).all():
        raise DataError("quality", "no outcome observed", "give at least one observed quality")
    return int(np.nanargmax(means))


def cost_table(outcomes: Outcomes, predicted_cost: Floats | None, best: int) -> CostTable:
    """Realised cost of every choice.

    A missing cost is filled by the router's prediction, else by the model's mean, else by the dearest
    model's mean (so that an unknown price never makes a router look cheap). Without any cost, of two models a call
    of the best constant counts 1 and the other's is free; among more nobody can say which is dearer, so every call
    counts 1.
    """
    n, m = outcomes.quality.shape
    if outcomes.cost is None and m != 2:
        note = "The table has no costs: every call counts the same, so quality alone decides."
        return CostTable(np.ones((n, m)), "calls", (note,) if m > 2 else ())
    if outcomes.cost is None:
        calls = np.zeros((n, m))
        calls[:, best] = 1.0
        name = outcomes.models[best]
        return CostTable(
            calls,
            f"calls of {name}",
            (f"The table has no costs: {name}, the better, is taken as the dearer one.",),
        )
    cost, notes = np.array(outcomes.cost, dtype=np.float64), []
    missing = ~np.isfinite(cost)
    if missing.any():
        if predicted_cost is not None:
            cost = np.where(missing, predicted_cost, cost)
        means = column_means(np.where(missing, np.nan, cost), outcomes.weight)
        unpriced = np.isnan(means) & ~np.isfinite(cost).all(axis=0)
        if unpriced.all():
            raise DataError("cost", "every cost is missing", "leave the cost columns out, or give some")
        means = np.where(np.isnan(means), np.nanmax(means), means)
        cost = np.where(np.isfinite(cost), cost, means)
        notes.append(f"{missing.mean():.1%} of costs are missing and were filled in.")
        if unpriced.any():
            names = ", ".join(outcomes.models[j] for j in np.flatnonzero(unpriced))
            notes.append(f"No cost is known for {names}: counted as dear as the dearest model.")
    return CostTable(cost, "USD", tuple(notes))


def constant(quality: Floats, cost: Floats, model: int) -> PolicyRows:
    """Always the same model."""
    return PolicyRows(quality[:, model], cost[:, model])


def chosen(quality: Floats, cost: Floats, decision: Ints) -> PolicyRows:
    """The model decided on for each row; ``decision`` is int [n]."""
    rows = np.arange(len(decision))
    return PolicyRows(quality[rows, decision], cost[rows, decision])


def oracle(quality: Floats, cost: Floats) -> PolicyRows:
    """The best model of each row, the cheapest among equals: a ceiling that counts lucky guesses."""
    filled = np.where(np.isfinite(quality), quality, -np.inf)
    top = filled.max(axis=1, keepdims=True)
    choice = np.where(filled == top, cost, np.inf).argmin(axis=1)
    return chosen(quality, cost, choice)


def shuffle(quality: Floats, cost: Floats, decision: Ints, weight: Floats) -> PolicyRows:
    """The router's own decisions dealt out at random (expected value): same calls, no knowledge."""
    share = np.bincount(decision, weights=weight, minlength=quality.shape[1]) / weight.sum()
    observed = np.isfinite(quality)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = (np.where(observed, quality, 0.0) @ share) / (observed @ share)
    return PolicyRows(expected, cost @ share)


class ConstantMixes:
    """The best mixes of constant models: RouterBench's zero router, and its requests dealt out by a score.

    Args:
        quality: float64 [n, m], NaN where not observed.
        cost: float64 [n, m].
        weight: float64 [n].
    """

    def __init__(self, quality: Floats, cost: Floats, weight: Floats) -> None:
        """Find the hull of the constants."""
        self.quality, self.cost, self.weight = quality, cost, weight
        means = column_means(quality, weight)
        known = np.flatnonzero(np.isfinite(means))
        costs = column_means(cost, weight)
        hull = [int(known[i]) for i in hull_indices(costs[known], means[known])]
        self.models = hull
        self.mean_cost, self.mean_quality = costs[hull], means[hull]

    def _segment(self, target: float) -> tuple[int, int, float]:
        """The two hull models around a mean cost and the dearer one's share."""
        right = int(np.searchsorted(self.mean_cost, target, side="left"))
        if right == 0:
            return self.models[0], self.models[0], 0.0
        if right == len(self.models):
            return self.models[-1], self.models[-1], 0.0
        low, high = self.mean_cost[right - 1], self.mean_cost[right]
        return self.models[right - 1], self.models[right], float((target - low) / (high - low))

    def random(self, target: float) -> PolicyRows:
        """Random choice between two models at a mean cost: the best there is without reading the request."""
        cheap, dear, share = self._segment(target)
        return _mixed(self._constant(cheap), self._constant(dear), share)

    def _constant(self, model: int) -> PolicyRows:
        return constant(self.quality, self.cost, model)

    def by_score(self, score: Floats, target: float) -> PolicyRows:
        """The highest scores (float64 [n]) go to the dearer of the two models until the mean cost is spent.

        The last request, or run of equal scores, is split in expectation.
        """
        cheap, dear, share = self._segment(target)
        if cheap == dear:
            return _mixed(self._constant(cheap), self._constant(dear), share)
        _, tie = np.unique(-score, return_inverse=True)
        extra = np.bincount(tie, weights=self.weight * (self.cost[:, dear] - self.cost[:, cheap]))
        spent = np.maximum.accumulate(np.concatenate(([0.0], np.cumsum(extra))))
        budget = (target - np.average(self.cost[:, cheap], weights=self.weight)) * self.weight.sum()
        last = int(np.searchsorted(spent, budget, side="right")) - 1
        step = spent[last + 1] - spent[last] if last + 1 < len(spent) else 0.0
        part = (budget - spent[last]) / step if step > 0 else 0.0
        to_dear = np.where(tie < last, 1.0, np.where(tie == last, part, 0.0))
        return _mixed(self._constant(cheap), self._constant(dear), to_dear)


def _mixed(first: PolicyRows, second: PolicyRows, share: Floats | float) -> PolicyRows:
    """``share`` (scalar or [n]) of ``second``, the rest of ``first``; at 0 or 1 only one is needed."""
    part = np.broadcast_to(np.asarray(share, dtype=np.float64), first.quality.shape)
    quality = np.where(
        part == 0,
        first.quality,
        np.where(part == 1, second.quality, (1 - part) * first.quality + part * second.quality),
    )
    return PolicyRows(quality, (1 - part) * first.cost + part * second.cost)


class CostSweep:
    """Policies argmax(quality - lambda cost) of one forecast, from cheapest to dearest.

    Where even lambda = 0 does not spend as much as the best constant, policies that grant that model a bonus
    go on from there, so the sweep of a pair runs through every threshold.

    Args:
        predicted_quality: float64 [n, m].
        plan_cost: float64 [n, m], the costs decided on.
        quality: float64 [n, m], realised.
        cost: float64 [n, m], realised.
        weight: float64 [n].
    """

    def __init__(
        self, predicted_quality: Floats, plan_cost: Floats, quality: Floats, cost: Floats, weight: Floats
    ) -> None:
        """Decide at every rate at which decisions change, thinned to about a hundred."""
        self._quality, self._cost = quality, cost
        unique: dict[bytes, Ints] = {}
        for rate in self._rates(predicted_quality, plan_cost):
            value = predicted_quality - rate * plan_cost if np.isfinite(rate) else -plan_cost
            # Equal value: the cheaper model, and among those the better forecast.
            best = value.max(axis=1, keepdims=True)
            tied = np.where(value >= best, plan_cost, np.inf)
            tied = np.where(tied <= tied.min(axis=1, keepdims=True), predicted_quality, -np.inf)
            decision = tied.argmax(axis=1)
            unique[decision.tobytes()] = decision
        top = best_constant(quality, weight)
        free = predicted_quality.argmax(axis=1)
        spent = float(weight @ chosen(quality, cost, free).cost)
        lead = predicted_quality.max(axis=1) - predicted_quality[:, top]
        for bonus in np.quantile(lead, np.linspace(0, 1, SWEEP_STEPS)):
            decision = np.where(lead <= bonus, top, free)
            if float(weight @ chosen(quality, cost, decision).cost) > spent:
                unique[decision.tobytes()] = decision
        decisions = np.array(list(unique.values()))
        costs = np.array([np.average(chosen(quality, cost, d).cost, weights=weight) for d in decisions])
        order = np.argsort(costs, kind="stable")
        self.decisions, self.mean_cost = decisions[order], costs[order]

    @staticmethod
    def _rates(predicted: Floats, cost: Floats) -> Floats:
        """Rates at which decisions change: quantiles of what pairs of models trade quality for cost at."""
        found = []
        m = predicted.shape[1]
        for a in range(m):
            gap = cost[:, a, None] - cost[:, a + 1 :]
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(((predicted[:, a, None] - predicted[:, a + 1 :]) / gap).ravel())
        critical = np.concatenate(found) if found else np.zeros(0)
        critical = critical[np.isfinite(critical) & (critical > 0)]
        if len(critical) == 0:
            return np.array([0.0, np.inf])
        inner = np.quantile(critical, np.linspace(0, 1, SWEEP_STEPS))
        return np.concatenate(([0.0], inner, [inner[-1] * 2, np.inf]))

    def at(self, target: float) -> PolicyRows:
        """The two policies around a mean cost, mixed to meet it; the nearest one beyond the ends."""
        right = int(np.searchsorted(self.mean_cost, target, side="left"))
        if right == 0 or right == len(self.mean_cost):
            return chosen(self._quality, self._cost, self.decisions[min(right, len(self.mean_cost) - 1)])
        low, high = self.mean_cost[right - 1], self.mean_cost[right]
        first = chosen(self._quality, self._cost, self.decisions[right - 1])
        second = chosen(self._quality, self._cost, self.decisions[right])
        same = self.decisions[right - 1] == self.decisions[right]
        return _mixed(first, second, np.where(same, 0.0, (target - low) / (high - low)))

    def points(self, weight: Floats) -> tuple[Floats, Floats]:
        """Mean cost and mean quality of every policy, both [p]."""
        rows = np.array([chosen(self._quality, self._cost, d).quality for d in self.decisions])
        return self.mean_cost, column_means(rows.T, weight)


def length_score(outcomes: Outcomes) -> Floats | None:
    """Prompt length, float64 [n]: tokens where there are features, else characters; else None."""
    if outcomes.features is not None:
        return outcomes.features.tokens.astype(np.float64)
    if outcomes.prompt is not None:
        return np.array([len(text) for text in outcomes.prompt], dtype=np.float64)
    return None


def tfidf_ridge(features: FeatureTable, target: Floats, folds: Ints, *, weight: Floats | None = None) -> Floats:
    """Out-of-fold ridge regression on binary TF-IDF of hashed word 1-2-grams.

    Args:
        features: the engine's; only word n-grams (ids below 2**17) are read.
        target: float64 [n, t], NaN where not observed; each column is fitted on its observed rows.
        folds: int [n]; row i is predicted by a model fitted on the rows of other folds.
        weight: float64 [n].

    Returns:
        float64 [n, t]. Its strength is chosen on the last fold for the baseline's benefit.

    Raises:
        DataError: fewer than two folds, or lengths that differ.
        MissingExtraError: scikit-learn is not installed.
    """
    with needed():
        from scipy.sparse import csr_matrix
    n = len(features)
    numbers = np.unique(folds)
    if len(target) != n or len(folds) != n or len(numbers) < 2:
        raise DataError("folds", f"{len(numbers)} folds, {n} rows", "give two folds or more, one number per row")
    word = features.ngrams < _core.CHAR_BASE
    rows = np.repeat(np.arange(n), np.diff(features.ngram_offsets))[word]
    vocabulary, columns = np.unique(features.ngrams[word], return_inverse=True)
    counts = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(n, max(1, len(vocabulary))))
    weights = np.ones(n) if weight is None else weight

    def predict(train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_], strength: float) -> Floats:
        return _ridge_prediction(counts, target, weights, train, test, strength)

    last = folds == numbers[-1]
    errors = [float(np.nansum((predict(~last, last, s) - target[last]) ** 2)) for s in RIDGE_STRENGTHS]
    strength = RIDGE_STRENGTHS[int(np.argmin(errors))]
    out = np.empty((n, target.shape[1]))
    for number in numbers:
        test = folds == number
        out[test] = predict(~test, test, strength)
    return out


def _ridge_prediction(
    counts: object,
    target: Floats,
    weight: Floats,
    train: npt.NDArray[np.bool_],
    test: npt.NDArray[np.bool_],
    strength: float,
) -> Floats:
    """Fit TF-IDF weights and one ridge per column on ``train``, predict ``test``; float64 [tests, t]."""
    with needed():
        from sklearn.feature_extraction.text import TfidfTransformer
        from sklearn.linear_model import Ridge
    transform = TfidfTransformer().fit(counts[train])  # type: ignore[index]
    inside, outside = transform.transform(counts[train]), transform.transform(counts[test])  # type: ignore[index]
    out = np.zeros((int(test.sum()), target.shape[1]))
    for column in range(target.shape[1]):
        values = target[train, column]
        seen = np.isfinite(values)
        if seen.any():
            ridge = Ridge(alpha=strength, solver="sparse_cg", tol=1e-3, max_iter=200)
            ridge.fit(inside[seen], values[seen], sample_weight=weight[train][seen])
            out[:, column] = ridge.predict(outside)
    return out
