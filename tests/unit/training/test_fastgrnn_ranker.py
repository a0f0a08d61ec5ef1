"""The candidate scorer: it ranks what is useful first, and refuses what teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer import TrainingError
from tiny_dancer.training.fastgrnn import reference
from tiny_dancer.training.fastgrnn.optimise import Plan
from tiny_dancer.training.fastgrnn.ranker import Rankings, fit_ranker

PLAN = Plan(epochs=25, batch=8, learning_rate=1e-2, weight_decay=1e-3, patience=10)


def lists(queries=40, candidates=20, seed=0):
    """Useful: the two candidates of a query with the largest a·b; c is noise on another scale."""
    generator = np.random.default_rng(seed)
    features = generator.uniform(-1, 1, (queries * candidates, 3))
    features[:, 2] = generator.normal(50, 20, len(features))
    query = np.repeat(np.arange(queries), candidates)
    value = (features[:, 0] * features[:, 1]).reshape(queries, candidates)
    useful = (value >= np.sort(value, axis=1)[:, [-2]]).ravel().astype(float)
    order = generator.permutation(len(features))  # rows of a query need not lie together
    return features[order], useful[order], query[order]


def scores(tensors, features):
    cell = reference.Cell.read(tensors, "cell", features.shape[1])
    state = cell.step(features.astype(np.float32), np.zeros((len(features), len(cell.gate_bias)), np.float32))
    return reference.logits(tensors, state)[:, 0]


def recall(score, useful, query, k=3):
    found = []
    for each in np.unique(query):
        own = np.flatnonzero(query == each)
        best = own[np.argsort(-score[own])[:k]]
        found.append(useful[best].sum() / useful[own].sum())
    return float(np.mean(found))


@pytest.mark.parametrize(("form", "distil"), [("f32", False), ("int8", True)])
def test_useful_candidates_come_first_on_fresh_queries(form, distil) -> None:
    tensors = fit_ranker(*lists(), hidden=12, form=form, distil=distil, plan=PLAN)
    features, useful, query = lists(seed=8)
    assert recall(scores(tensors, features), useful, query) > 0.55
    best_single = max(recall(sign * features[:, each], useful, query) for each in range(3) for sign in (1, -1))
    assert best_single < 0.45
    assert tensors["head.weight"].shape == (1, 12)
    assert tensors["cell.input_weight"].dtype == (np.float32 if form == "f32" else np.int8)
    assert np.asarray(tensors["cell.recurrent_weight"]).any() == 0


def test_the_same_seed_gives_the_same_tensors_and_validation_is_used() -> None:
    rows = lists(12)
    short = Plan(epochs=2, batch=8)
    held_out = Rankings(*lists(5, seed=3))
    first, again = (fit_ranker(*rows, plan=short, seed=4, validation=held_out) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    with pytest.raises(TrainingError, match="query: 4 that can be learned from"):
        fit_ranker(*lists(4), plan=short)
    fit_ranker(*lists(4), plan=short, validation=held_out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f, r, q: (f[:, 0], r, q), "features: shape"),
        (lambda f, r, q: (f, r[:-1], q), "relevance: shape"),
        (lambda f, r, q: (np.where(f == f[3, 1], np.nan, f), r, q), "features: nan in row 3, column 1"),
        (lambda f, r, q: (f, r - 1, q), "relevance: a value below 0"),
        (lambda f, r, q: (f, r * 0, q), "no query tells candidates apart"),
        (lambda f, r, q: (f, r * 0 + 1, q), "no query tells candidates apart"),
    ],
)
def test_rankings_that_teach_nothing_are_refused(change, said) -> None:
    with pytest.raises(TrainingError) as caught:
        fit_ranker(*change(*lists(12)))
    assert said in str(caught.value)
