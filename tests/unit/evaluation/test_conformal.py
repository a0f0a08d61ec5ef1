"""Conformal sets keep what they promise: by simulation within exact binomial bounds, elsewhere by properties."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, DataError, OptionError, TinyDancerError
from tiny_dancer.evaluation.conformal import (
    AdaptiveConformal,
    SplitConformalClassifier,
    SplitConformalRanker,
    SplitConformalRegressor,
    conformal_quantile,
)
from tiny_dancer.evaluation.relevance import ConformalRelevance

DRAWS = 4000
SURE = 1e-6
"""Chance that a test of a true promise fails, were seeds not fixed."""
ALPHAS = st.integers(1, 60).map(lambda percent: percent / 100)
Floats = np.ndarray


def exact_coverage(n: int, alpha: float) -> float:
    """Of a threshold from n scores without ties: ceil((n + 1)(1 - alpha)) / (n + 1)."""
    return math.ceil(round((n + 1) * (1 - alpha), 9)) / (n + 1)


def assert_share(hits: int, draws: int, share: float) -> None:
    """The count is what independent draws with this chance give, within exact binomial bounds."""
    low, high = binom.ppf([SURE / 2, 1 - SURE / 2], draws, share)
    assert low <= hits <= high, f"{hits / draws:.4f}, expected {share:.4f}"


def softmax(logits: Floats) -> Floats:
    rising = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(rising / rising.sum(axis=-1, keepdims=True), np.float32)


def labelled(generator: np.random.Generator, n: int, sharpness: float = 1.0) -> tuple[Floats, Floats]:
    """Probabilities of six labels and the true ones, by a model overconfident for ``sharpness`` above 1."""
    logits = generator.normal(size=(n, 6)) * 1.5
    honest = softmax(logits).astype(np.float64)
    labels = (honest.cumsum(1) > generator.random((n, 1)) * honest.sum(1, keepdims=True)).argmax(1)
    return softmax(sharpness * logits), labels


@pytest.mark.parametrize("n", [9, 10, 40, 99])
@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_the_quantile_covers_one_more_draw_exactly_as_often_as_theory_says(n: int, alpha: float) -> None:
    draws = np.random.default_rng(n).normal(size=(DRAWS, n + 1))
    hits = sum(row[-1] <= conformal_quantile(row[:-1], alpha) for row in draws)
    assert_share(hits, DRAWS, exact_coverage(n, alpha))


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_least_ambiguous_sets_cover_exactly_whatever_the_model(sharpness: float, alpha: float) -> None:
    hits = 0
    for seed in range(1000):
        probabilities, labels = labelled(np.random.default_rng(seed), 61, sharpness)
        fitted = SplitConformalClassifier.conformalize(probabilities[1:], labels[1:], alpha=alpha, method="lac")
        hits += fitted.predict_set(probabilities[:1])[0, labels[0]]
    assert_share(hits, 1000, exact_coverage(60, alpha))


def test_randomised_adaptive_sets_cover_exactly_and_fixed_ones_at_least() -> None:
    exactly, at_least = 0, 0
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        probabilities, labels = labelled(generator, 61, 2.0)
        uniform = generator.random(61)
        drawn = SplitConformalClassifier.conformalize(
            probabilities[1:], labels[1:], alpha=0.2, method="aps", uniform=uniform[1:]
        )
        exactly += drawn.predict_set(probabilities[:1], uniform=uniform[:1])[0, labels[0]]
        fixed = SplitConformalClassifier.conformalize(probabilities[1:], labels[1:], alpha=0.2, method="aps")
        at_least += fixed.predict_set(probabilities[:1])[0, labels[0]]
    assert_share(exactly, 1000, exact_coverage(60, 0.2))
    assert at_least >= binom.ppf(SURE, 1000, 0.8)


def test_intervals_cover_exactly_whatever_the_forecast() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(DRAWS):
        actual = generator.standard_cauchy(40)
        fitted = SplitConformalRegressor.conformalize(np.full(39, 3.0), actual[1:], alpha=0.15)
        low, high = fitted.predict_interval([3.0])[0]
        hits += bool(low <= actual[0] <= high)
    assert_share(hits, DRAWS, exact_coverage(39, 0.15))


def test_rankings_cut_there_hold_a_relevant_candidate() -> None:
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(DRAWS):
        relevant = generator.random((40, 30)) < 0.1
        relevant[:, 0] |= ~relevant.any(axis=1)
        scores = generator.normal(size=(40, 30)).round(1) + relevant
        fitted = SplitConformalRanker.conformalize(list(scores[1:]), list(relevant[1:]), alpha=0.2)
        hits += bool(relevant[0, fitted.predict_set(scores[0])].any())
    assert hits >= binom.ppf(SURE, DRAWS, 0.8)
    assert hits <= binom.ppf(1 - SURE, DRAWS, exact_coverage(39, 0.2)) + 0.05 * DRAWS, (
        "ties cost a little, not all"
    )


def test_every_group_with_enough_rows_is_covered_where_one_threshold_for_all_fails() -> None:
    hits = {"easy": 0, "hard": 0}
    pooled = dict(hits)
    spread = {"easy": 0.1, "hard": 4.0}
    for seed in range(1000):
        generator = np.random.default_rng(seed)
        group = ["easy"] * 60 + ["hard"] * 30
        actual = generator.normal(size=90) * [spread[name] for name in group]
        apart = SplitConformalRegressor.conformalize(np.zeros(90), actual, alpha=0.1, group=group)
        together = SplitConformalRegressor.conformalize(np.zeros(90), actual, alpha=0.1)
        for name in hits:
            value = generator.normal() * spread[name]
            for fitted, counts in ((apart, hits), (together, pooled)):
                low, high = fitted.predict_interval([0.0], group=[name])[0]
                counts[name] += bool(low <= value <= high)
    assert_share(hits["easy"], 1000, exact_coverage(60, 0.1))
    assert_share(hits["hard"], 1000, exact_coverage(30, 0.1))
    assert pooled["hard"] < 800 < pooled["easy"]


def test_p_values_of_each_class_are_superuniform() -> None:
    p_values: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(1500):
        generator = np.random.default_rng(seed)
        relevant = np.arange(60) % 6 == 0
        scores = (generator.normal(size=60) + relevant).round(1)
        fitted = ConformalRelevance.conformalize(scores[2:], relevant[2:], most_knots=[7, 1000][seed % 2])
        found = fitted.p_values(generator.normal([1, 0]).round(1))
        p_values[True].append(found[0, 0])
        p_values[False].append(found[1, 1])
    for values in p_values.values():
        for level in (0.02, 0.05, 0.1, 0.2, 0.5, 0.8):
            assert np.sum(np.array(values) <= level) <= binom.ppf(1 - SURE, len(values), level)
    assert np.mean(np.array(p_values[False]) <= 0.5) > 0.35, "and not needlessly large"


def test_p_values_hold_for_a_candidate_of_a_new_question_where_candidates_depend_on_each_other() -> None:
    by_question: list[Any] = []
    by_candidate: list[Any] = []
    for seed in range(1500):
        generator = np.random.default_rng(seed)
        # All candidates of a question share a level; long questions have high ones.
        level = generator.normal(size=26)
        sizes = np.where(level > 0.8, 40, 3)
        question = np.repeat(np.arange(25), sizes[1:])
        scores = level[1:][question] + 0.05 * generator.normal(size=len(question))
        scores, question = np.append(scores, [9.0, -9.0]), np.append(question, [0, 0])
        relevant = np.zeros(len(scores), bool)
        relevant[-2:] = True
        new = level[0] + 0.05 * generator.normal()
        for found, used in ((by_question, question), (by_candidate, None)):
            fitted = ConformalRelevance.conformalize(-scores, relevant, question=used)
            found.append(fitted.p_values([-new])[0, 1])
    limits = {level: binom.ppf(1 - SURE, 1500, level) for level in (0.05, 0.1, 0.2, 0.5)}
    counts = {level: np.sum(np.array(by_question) <= level) for level in limits}
    assert all(counts[level] <= limits[level] for level in limits)
    assert any(np.sum(np.array(by_candidate) <= level) > limits[level] for level in limits), "which is why"


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=80), ALPHAS)
def test_exactly_enough_rows_are_needed(scores: list[float], alpha: float) -> None:
    needed = _core.conformal_rows_needed(alpha)
    values = np.array(scores)
    assert math.isfinite(conformal_quantile(values, alpha)) == (len(scores) >= needed)
    if len(scores) >= needed:
        SplitConformalRegressor.conformalize(values, values, alpha=alpha)
    else:
        with pytest.raises(OptionError, match=f"at least {needed:.0f} rows"):
            SplitConformalRegressor.conformalize(values, values, alpha=alpha)


@given(st.integers(0, 2**32 - 1), ALPHAS, ALPHAS, st.sampled_from(["lac", "aps"]))
def test_smaller_error_rates_give_larger_sets(
    seed: int, a: float, b: float, method: Literal["lac", "aps"]
) -> None:
    probabilities, labels = labelled(np.random.default_rng(seed), 110)
    sets = [
        SplitConformalClassifier.conformalize(
            probabilities[:100], labels[:100], alpha=alpha, method=method
        ).predict_set(probabilities[100:])
        for alpha in (max(a, b), min(a, b))
    ]
    assert (sets[0] <= sets[1]).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["lac", "aps"]), st.floats(0.02, 0.5))
def test_a_calibration_survives_its_header(seed: int, method: Literal["lac", "aps"], alpha: float) -> None:
    generator = np.random.default_rng(seed)
    probabilities, labels = labelled(generator, 100)
    group = [f"group {name}" for name in generator.integers(0, 3, 100)]
    fitted = SplitConformalClassifier.conformalize(probabilities, labels, alpha=alpha, method=method, group=group)
    again = SplitConformalClassifier.from_header(fitted.header())
    assert again.header() == fitted.header()
    inside = fitted.predict_set(probabilities, group=group)
    np.testing.assert_array_equal(again.predict_set(probabilities, group=group), inside)
    assert inside[np.arange(100), labels].mean() >= 1 - alpha, "over the calibration rows themselves"
    with pytest.raises(ArtifactError, match="absolute_residual"):
        SplitConformalRegressor.from_header(fitted.header())


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=300),
    st.floats(0.02, 0.98),
    st.floats(0.01, 0.4),
    st.lists(st.floats(0, 1), max_size=30),
)
def test_adaptive_levels_keep_their_bound_against_any_sequence(
    truths: list[float], alpha: float, gamma: float, calibration: list[float]
) -> None:
    state = AdaptiveConformal.start(alpha, gamma)
    scores, misses = np.array(calibration, np.float64), 0
    for truth in truths:
        covered = truth <= conformal_quantile(scores, state.level)
        misses += not covered
        state = state.after(covered)
        assert -gamma - 1e-9 <= state.level <= 1 + gamma + 1e-9
    bound = (max(alpha, 1 - alpha) + gamma) / (len(truths) * gamma)
    assert abs(misses / len(truths) - alpha) <= bound + 1e-9


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=60), st.floats(-3, 3))
def test_uncertainty_is_the_least_error_rate_with_a_single_answer(scores: list[float], asked: float) -> None:
    relevant = np.arange(len(scores)) % 2 == 0
    fitted = ConformalRelevance.conformalize(scores, relevant)
    p_values, uncertainty = fitted.p_values([asked])[0], fitted.uncertainty([asked])[0]
    assert (p_values > uncertainty).sum() <= 1
    assert (p_values > uncertainty - 1e-9).sum() == 2
    header, tensors = fitted.header(), fitted.tensors()
    again = ConformalRelevance.from_artifact(header, tensors)
    np.testing.assert_array_equal(again.p_values([asked])[0], p_values)
    assert sum(tensor.nbytes for tensor in tensors.values()) <= 4 * len(scores)


PROBABILITIES = np.full((20, 4), 0.25)
LABELS = np.arange(20) % 4


def damaged(row: int, column: int, value: float) -> Floats:
    table = PROBABILITIES.copy()
    table[row, column] = value
    return table


@pytest.mark.parametrize(
    ("probabilities", "labels", "options", "error", "names"),
    [
        (damaged(3, 1, np.nan), LABELS, {}, DataError, "probabilities[3]"),
        (damaged(2, 1, -0.1), LABELS, {}, DataError, "probabilities[2]"),
        (damaged(5, 0, 0.5), LABELS, {}, DataError, "sum 1.25"),
        (PROBABILITIES[0], LABELS, {}, DataError, "probabilities"),
        (PROBABILITIES, LABELS[:-1], {}, DataError, "labels: 19 for 20"),
        (PROBABILITIES, LABELS + 1, {}, DataError, "columns end at 3"),
        (PROBABILITIES, LABELS - 1, {}, DataError, "columns end at 3"),
        (PROBABILITIES, LABELS.astype(float), {}, DataError, "labels"),
        (PROBABILITIES, LABELS, {"alpha": 0.0}, OptionError, "alpha"),
        (PROBABILITIES, LABELS, {"alpha": 1.0}, OptionError, "alpha"),
        (PROBABILITIES, LABELS, {"alpha": float("nan")}, OptionError, "alpha"),
        (PROBABILITIES, LABELS, {"alpha": 0.04}, OptionError, "at least 24 rows"),
        (PROBABILITIES, LABELS, {"method": "raps"}, OptionError, "method"),
        (PROBABILITIES, LABELS, {"group": ["a"] * 19}, DataError, "group"),
        (PROBABILITIES, LABELS, {"uniform": np.full(20, 1.5)}, DataError, "uniform"),
        (PROBABILITIES, LABELS, {"uniform": np.full(19, 0.5)}, DataError, "uniform"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(
    probabilities: Floats, labels: Floats, options: dict[str, object], error: type[TinyDancerError], names: str
) -> None:
    with pytest.raises(error) as found:
        SplitConformalClassifier.conformalize(probabilities, labels, **options)  # type: ignore[arg-type]
    assert names in str(found.value)


def test_values_that_are_no_numbers_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"actual\[1\]"):
        SplitConformalRegressor.conformalize([0.0, 1.0], [0.0, np.inf])
    with pytest.raises(DataError, match=r"scores\[0\]"):
        conformal_quantile([np.nan], 0.1)
    with pytest.raises(DataError, match=r"relevant\[0\]"):
        SplitConformalRanker.conformalize([[0.1, 0.2]], [[True]])
    with pytest.raises(DataError, match="question"):
        ConformalRelevance.conformalize([0.1, 0.2], [True, False], question=[1])
    with pytest.raises(OptionError, match="scores: none"):
        ConformalRelevance.conformalize([0.1, 0.2], [True, True])
    with pytest.raises(OptionError, match="gamma"):
        AdaptiveConformal.start(0.1, 0.0)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"score": "lac", "alpha": 0.1, "rows": 100, "threshold": 1.5},
        {"score": "lac", "alpha": 0.1, "rows": 8, "threshold": 0.5},
        {"score": "lac", "alpha": 0.1, "rows": 100, "threshold": None},
        {"score": "raps", "alpha": 0.1, "rows": 100, "threshold": 0.5},
        {
            "score": "lac",
            "alpha": 0.1,
            "rows": 50,
            "threshold": 0.5,
            "groups": {"a": {"rows": 60, "threshold": 0.5}},
        },
    ],
)
def test_headers_that_cannot_be_are_refused(header: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="conformal"):
        SplitConformalClassifier.from_header(header)


def test_draws_may_be_nought_and_one_and_nothing_beyond() -> None:
    probabilities, labels = labelled(np.random.default_rng(7), 40)
    edges = np.arange(40) % 2.0
    SplitConformalClassifier.conformalize(probabilities, labels, alpha=0.2, method="aps", uniform=edges)
    for wrong in (-1e-9, 1 + 1e-9):
        with pytest.raises(DataError, match="between 0 and 1"):
            SplitConformalClassifier.conformalize(
                probabilities, labels, alpha=0.2, method="aps", uniform=np.append(edges[1:], wrong)
            )
