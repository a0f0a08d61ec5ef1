"""A candidate scorer: one step of the cell over a candidate's features, then one number to rank by.

A single step from h₀ = 0 leaves the recurrent matrix unused; it is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import TrainingError
from tiny_dancer.training.fastgrnn import cell, losses, quantise
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp
from tiny_dancer.training.fastgrnn.optimise import Plan, optimise

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Array, Parameters
    from tiny_dancer.training.fastgrnn.integers import Form

FEWEST_QUERIES = 10
"""With fewer, nothing can be held out for early stopping."""
_SHARE, _TEMPERATURE = 0.5, 2.0
_FOLDS = 4


@dataclass(frozen=True, slots=True)
class Rankings:
    """Candidates of all queries, row below row.

    Attributes:
        features: float32 [n, F], finite.
        relevance: float64 [n], at least 0 (1 useful, 0 not).
        query: int64 [n], equal for the candidates of one query.
    """

    features: npt.NDArray[np.float32]
    relevance: npt.NDArray[np.float64]
    query: npt.NDArray[np.int64]

    def of_queries(self, queries: npt.NDArray[np.int64]) -> Rankings:
        """The rows of some queries."""
        rows = np.isin(self.query, queries)
        return Rankings(self.features[rows], self.relevance[rows], self.query[rows])


_PLAN = Plan(epochs=60, batch=16, learning_rate=1e-2, weight_decay=1e-3, patience=10)


def fit_ranker(
    features: npt.NDArray[Any],
    relevance: npt.NDArray[Any],
    query: npt.NDArray[Any],
    *,
    validation: Rankings | None = None,
    hidden: int = 8,
    form: Form = "int8",
    distil: bool = False,
    seed: int = 0,
    plan: Plan = _PLAN,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, npt.NDArray[Any]]:
    """Trains a candidate scorer on what proved useful; tensors take the features as they are.

    Args:
        features: [n, F], finite.
        relevance: [n], at least 0.
        query: [n], equal for the candidates of one query.
        validation: held-out rankings for early stopping; a fifth of the queries where it is None.
        hidden: H.
        form: of the weights; integer forms have a static input scale from these features.
        distil: whether to learn from an ensemble of boosted trees as well, each query scored by trees that did not
            see it; kept where held-out queries are ranked no worse.
        seed: of split, start and order.
        plan: how long and how fast.
        progress: called after each epoch.

    Returns:
        Tensors in the engine's format: the cell under `cell`, `head.weight` [1, H] and `head.bias` [1].

    Raises:
        TrainingError: shapes that disagree, values that are not finite, or too few queries with a relevant and an
            irrelevant candidate.
    """
    rows = _checked(features, relevance, query, "")
    if validation is None:
        queries = np.random.default_rng(seed).permutation(np.unique(rows.query))
        if len(queries) < FEWEST_QUERIES:
            raise TrainingError(
                "query", f"{len(queries)} that can be learned from", f"give {FEWEST_QUERIES} or more"
            )
        rows, held_out = (
            rows.of_queries(queries[len(queries) // 5 :]),
            rows.of_queries(queries[: len(queries) // 5]),
        )
    else:
        held_out = _checked(validation.features, validation.relevance, validation.query, "validation.")
    mean, deviation = rows.features.mean(0), rows.features.std(0)
    inverse = np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0).astype(np.float32)
    standard = replace(rows, features=(rows.features - mean) * inverse)
    lists = _padded(standard)
    held_out_lists = _padded(replace(held_out, features=(held_out.features - mean) * inverse))

    @jax.jit  # type: ignore[untyped-decorator]
    def held_out_loss(model: Parameters) -> Array:
        score = scores(model, held_out_lists["features"])
        return losses.listwise(score, held_out_lists["relevance"], held_out_lists["present"])

    def judge(model: Parameters) -> float:
        return -float(held_out_loss(model))

    start = cell.new_model(features.shape[1], hidden, 1, seed)
    start["recurrent_weight"] = np.zeros((hidden, hidden), np.float32)
    start["gate_bias"] = np.zeros(hidden, np.float32)  # nothing to remember in a single step
    learned = optimise(start, _listwise, lists, judge, plan, seed=seed, phase="baseline", progress=progress)
    if distil:
        teacher = {**lists, "teacher": _teacher_scores(standard, lists["place"], seed)}
        taught = optimise(start, _distilled, teacher, judge, plan, seed=seed, phase="distilled", progress=progress)
        learned = max(learned, taught, key=lambda each: each.score)
    model = _on_raw_features(learned.model, mean, inverse)
    sequences = rows.features[:, None]
    scales = None
    if form != "f32":
        scales = quantise.calibrate(model, sequences, np.ones(len(sequences), np.int64), "exact")
    tensors = quantise.cell_tensors(model, "cell", form, "exact", scales)
    return tensors | quantise.head_tensors(model, "head", form, scales)


def scores(model: Parameters, features: Array) -> Array:
    """Scores [...] of candidates with features [..., F]: the cell's first step and the head."""
    projected = cell.product(model["input_weight"], features)
    state = cell.step(model, projected, jnp.zeros_like(projected), "exact")
    return cell.logits(model, state)[..., 0]


def _listwise(model: Parameters, batch: dict[str, Array], key: Array) -> Array:
    del key
    return losses.listwise(scores(model, batch["features"]), batch["relevance"], batch["present"])


def _distilled(model: Parameters, batch: dict[str, Array], key: Array) -> Array:
    given = scores(model, batch["features"])
    part = losses.soft_listwise(given, batch["teacher"], batch["present"], _TEMPERATURE)
    return (1 - _SHARE) * _listwise(model, batch, key) + _SHARE * part


def _checked(
    features: npt.NDArray[Any], relevance: npt.NDArray[Any], query: npt.NDArray[Any], prefix: str
) -> Rankings:
    """Rows of queries that say something: with a relevant and an irrelevant candidate."""
    if features.ndim != 2 or not len(features) or not features.shape[1]:
        raise TrainingError(f"{prefix}features", f"shape {features.shape}", "give [candidates, features]")
    for name, values in (("relevance", relevance), ("query", query)):
        if values.shape != (len(features),):
            raise TrainingError(
                f"{prefix}{name}", f"shape {values.shape}", f"give one for each of {len(features)}"
            )
    relevance = relevance.astype(np.float64)
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        found = f"{features[row, column]} in row {row}, column {column}"
        raise TrainingError(f"{prefix}features", found, "give finite numbers")
    if not (np.isfinite(relevance) & (relevance >= 0)).all():
        raise TrainingError(f"{prefix}relevance", "a value below 0 or not finite", "give 1 for useful, 0 for not")
    _, group = np.unique(query, return_inverse=True)
    relevant = np.bincount(group, relevance > 0)
    telling = (relevant > 0) & (relevant < np.bincount(group))
    kept = telling[group]
    if not kept.any():
        remedy = "give queries with both a relevant and an irrelevant candidate"
        raise TrainingError(f"{prefix}relevance", "no query tells candidates apart", remedy)
    return Rankings(features[kept].astype(np.float32), relevance[kept], group[kept].astype(np.int64))


def _padded(rows: Rankings) -> dict[str, npt.NDArray[Any]]:
    """One row a query: features [Q, C, F], relevance, present and place (row of origin) [Q, C]."""
    _, group, count = np.unique(rows.query, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    column = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    shape = (len(count), int(count.max()))
    features = np.zeros((*shape, rows.features.shape[1]), np.float32)
    relevance, present, place = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, np.int64)
    at = (group[order], column)
    features[at], relevance[at], present[at], place[at] = rows.features[order], rows.relevance[order], True, order
    return {"features": features, "relevance": relevance, "present": present, "place": place}


def _teacher_scores(rows: Rankings, place: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float32]:
    """Log-odds by boosted trees fitted on the other queries, laid out as :func:`_padded` does."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    useful = rows.relevance > 0
    fold = np.random.default_rng(seed).permutation(int(rows.query.max()) + 1)[rows.query] % _FOLDS
    found = np.zeros(len(useful), np.float32)
    for each in range(_FOLDS):
        trees = HistGradientBoostingClassifier(
            max_iter=100, max_leaf_nodes=15, learning_rate=0.08, min_samples_leaf=40, random_state=seed
        )
        trees.fit(rows.features[fold != each], useful[fold != each])
        found[fold == each] = trees.decision_function(rows.features[fold == each])
    return found[place]


def _on_raw_features(model: Parameters, mean: Any, inverse: Any) -> Parameters:
    """The model with standardisation folded in: W (x − m) / s = (W / s) x − (W / s) m."""
    weight = np.asarray(model["input_weight"]) * inverse
    shift = weight @ mean
    biases = {name: model[name] - shift for name in ("gate_bias", "update_bias")}
    return {**model, **biases, "input_weight": weight}
