"""Metrics against hand-computed cases, RouteLLM's own procedure and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.metrics import (
    PairScorer,
    aiq,
    apgr,
    brier,
    cost_quality_curve,
    cpt,
    expected_calibration_error,
    gain_curve,
    hull_indices,
    reliability,
)


def routellm(score: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> tuple[float, float, float]:
    """(APGR, CPT50, CPT80) by RouteLLM's published steps, quantiles written out."""
    thresholds = np.quantile(score, np.arange(11) / 10)
    shares, quality = [], []
    for i, threshold in enumerate(thresholds):
        picked = score >= threshold if i < 10 else score > threshold
        shares.append(picked.mean())
        quality.append(np.where(picked, strong, weak).mean())
    shares, quality = np.array(shares)[::-1], np.array(quality)[::-1]  # type: ignore[assignment]
    low, high = weak.mean(), strong.mean()
    area = np.trapezoid(quality, shares)
    found = [np.interp(low + level * (high - low), quality, shares) for level in (0.5, 0.8)]
    return (area - low) / (high - low), found[0], found[1]


def brute_force_exact(score: np.ndarray, weak: np.ndarray, strong: np.ndarray, weight: np.ndarray) -> float:
    """Expected area over random tie-breaking, by averaging many orders within ties."""
    areas = []
    for seed in range(400):
        order = np.lexsort((np.random.default_rng(seed).random(len(score)), -score))
        w, g = weight[order], (strong - weak)[order]
        share = np.concatenate(([0], np.cumsum(w))) / w.sum()
        gain = np.concatenate(([0], np.cumsum(w * g))) / w.sum()
        areas.append(np.trapezoid(gain, share) / gain[-1])
    return float(np.mean(areas))


def test_four_requests_by_hand() -> None:
    weak, strong = np.array([0.0, 0, 1, 1]), np.array([1.0, 1, 1, 1])
    # The two requests that gain go first: the curve rises to the full gap at half the calls.
    assert apgr(np.array([4.0, 3, 2, 1]), weak, strong, method="exact") == pytest.approx(0.75)
    assert apgr(np.array([1.0, 2, 3, 4]), weak, strong, method="exact") == pytest.approx(0.25)
    assert apgr(np.zeros(4), weak, strong, method="exact") == pytest.approx(0.5)
    assert cpt(np.array([4.0, 3, 2, 1]), weak, strong, level=0.5, method="exact") == pytest.approx(0.25)
    assert cpt(np.zeros(4), weak, strong, level=0.8, method="exact") == pytest.approx(0.8)


@pytest.mark.parametrize("n", [37, 188, 995])
def test_binned_is_routellm(n: int) -> None:
    rng = np.random.default_rng(n)
    weak, strong = (rng.random(n) < 0.5).astype(float), (rng.random(n) < 0.8).astype(float)
    score = rng.normal(size=n) + 0.3 * (strong - weak)
    expected = routellm(score, weak, strong)
    assert apgr(score, weak, strong) == pytest.approx(expected[0], abs=1e-12)
    assert cpt(score, weak, strong, level=0.5) == pytest.approx(expected[1], abs=1e-12)
    assert cpt(score, weak, strong, level=0.8) == pytest.approx(expected[2], abs=1e-12)


def test_binned_thresholds_are_those_of_qcut() -> None:
    pandas = pytest.importorskip("pandas")
    score = np.random.default_rng(0).normal(size=1234)
    _, thresholds = pandas.qcut(score, 10, retbins=True)
    shares = [(score >= t).mean() for t in thresholds[:-1]] + [0.0]
    curve = gain_curve(score, np.zeros(1234), np.ones(1234), method="binned")
    np.testing.assert_allclose(curve.share, shares[::-1], atol=1e-12)


def test_ties_take_their_expected_value_and_weights_count() -> None:
    rng = np.random.default_rng(3)
    score = rng.integers(0, 4, size=40).astype(float)
    weak, strong = rng.random(40) * 0.5, 0.3 + rng.random(40) * 0.5
    weight = rng.random(40) + 0.2
    exact = apgr(score, weak, strong, weight=weight, method="exact")
    assert exact == pytest.approx(brute_force_exact(score, weak, strong, weight), abs=0.01)
    # Whole-number weights are repeated rows, for both methods.
    times = rng.integers(1, 4, size=40)
    for method in ("exact", "binned"):
        repeated = apgr(*(np.repeat(v, times) for v in (score, weak, strong)), method=method)
        weighted = apgr(score, weak, strong, weight=times.astype(float), method=method)
        assert weighted == pytest.approx(repeated, abs=0.02 if method == "binned" else 1e-12)


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.float64, st.integers(5, 80), elements=st.floats(-3, 3, width=16)),
    st.integers(0, 2**16),
)
def test_apgr_depends_on_the_order_alone(score: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(score)
    weak, strong = rng.random(n) * 0.4, 0.5 + rng.random(n) * 0.4
    for method in ("binned", "exact"):
        forwards = apgr(score, weak, strong, method=method)
        assert apgr(np.exp(score), weak, strong, method=method) == pytest.approx(forwards, abs=1e-9)
        shuffled = rng.permutation(n)
        again = apgr(score[shuffled], weak[shuffled], strong[shuffled], method=method)
        assert again == pytest.approx(forwards, abs=1e-9)
    forwards = apgr(score, weak, strong, method="exact")
    assert forwards + apgr(-score, weak, strong, method="exact") == pytest.approx(1.0, abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 200), st.integers(0, 2**16))
def test_no_score_beats_the_true_gain(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weak, strong = rng.random(n), np.minimum(1.0, rng.random(n) + 0.5)
    if strong.mean() <= weak.mean():
        return
    ceiling = apgr(strong - weak, weak, strong, method="exact")
    assert ceiling >= apgr(rng.normal(size=n), weak, strong, method="exact") - 1e-12
    assert ceiling == pytest.approx(
        apgr(np.argsort(np.argsort(strong - weak)) * 1.0, weak, strong, method="exact")
    )
    assert ceiling >= 0.5


def test_random_scores_are_a_half_and_both_methods_agree_in_the_limit() -> None:
    rng = np.random.default_rng(1)
    n = 60_000
    weak, strong = rng.random(n) * 0.5, 0.5 + rng.random(n) * 0.5
    assert apgr(rng.random(n), weak, strong) == pytest.approx(0.5, abs=0.01)
    score = strong - weak + rng.normal(size=n)
    assert apgr(score, weak, strong) == pytest.approx(apgr(score, weak, strong, method="exact"), abs=0.005)


def test_unobserved_rows_are_dropped_and_counted() -> None:
    score = np.array([3.0, 2, 1, 0])
    weak, strong = np.array([0, np.nan, 0, 1]), np.array([1, 1, 1, np.nan])
    curve = gain_curve(score, weak, strong)
    assert (curve.rows, curve.dropped) == (2, 2)
    assert apgr(score, weak, strong, method="exact") == apgr(
        score[[0, 2]], weak[[0, 2]], strong[[0, 2]], method="exact"
    )
    # A score of a dropped row may be anything.
    score[1] = np.inf
    assert gain_curve(score, weak, strong).rows == 2


def test_what_cannot_be_said_is_nan_or_refused() -> None:
    assert np.isnan(apgr(np.arange(4.0), np.ones(4), np.zeros(4)))
    assert np.isnan(cpt(np.arange(4.0), np.ones(4), np.zeros(4)))
    assert apgr(np.array([1.0]), np.zeros(1), np.ones(1)) == pytest.approx(0.5)
    with pytest.raises(DataError, match="no row has both"):
        apgr(np.arange(2.0), np.full(2, np.nan), np.ones(2))
    with pytest.raises(DataError, match="finite"):
        apgr(np.array([0.0, np.nan]), np.zeros(2), np.ones(2))
    with pytest.raises(DataError, match="weight"):
        apgr(np.arange(2.0), np.zeros(2), np.ones(2), weight=np.array([1.0, -1.0]))
    with pytest.raises(OptionError, match="level"):
        cpt(np.arange(2.0), np.zeros(2), np.ones(2), level=1.5)


def test_figures_of_many_weightings_are_those_of_each() -> None:
    rng = np.random.default_rng(5)
    n = 150
    score, weak, strong = rng.normal(size=n).round(1), rng.random(n), 0.3 + rng.random(n)
    weights = rng.integers(0, 3, size=(7, n)).astype(float)
    together = PairScorer(score, weak, strong).figures(weights)
    for i, weight in enumerate(weights):
        for method in ("binned", "exact"):
            alone = apgr(score, weak, strong, weight=weight, method=method)
            assert getattr(together, f"apgr_{method}")[i] == pytest.approx(alone)
            for level in (0.5, 0.8):
                alone = cpt(score, weak, strong, level=level, weight=weight, method=method)
                assert getattr(together, f"cpt{level * 100:.0f}_{method}")[i] == pytest.approx(alone)


def test_aiq_by_hand() -> None:
    cost, quality = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.2, 0.6, 0.5, 0.8])
    curve = cost_quality_curve(cost, quality)
    np.testing.assert_allclose(curve.cost, [1, 2, 5])  # (3, .5) lies below the line from (2, .6) to (5, .8)
    assert aiq(cost, quality) == pytest.approx((0.4 * 1 + 0.7 * 3) / 4)
    # Beyond the dearest point the hull stays flat, below the cheapest it mixes with answering nothing.
    assert aiq(cost, quality, cost_range=(5.0, 7.0)) == pytest.approx(0.8)
    assert aiq(cost, quality, cost_range=(0.0, 1.0)) == pytest.approx(0.1)
    assert aiq(np.array([2.0]), np.array([0.4])) == pytest.approx(0.4)


@settings(deadline=None, max_examples=80)
@given(
    hnp.arrays(np.float64, (7, 2), elements=st.floats(0, 1, width=16)),
    st.floats(0, 1),
)
def test_hull_lies_above_every_point_and_mix(points: np.ndarray, part: float) -> None:
    cost, quality = points.T
    curve = cost_quality_curve(cost, quality)
    assert (curve.at(cost) >= quality - 1e-9).all()
    mixed_cost = part * cost[:-1] + (1 - part) * cost[1:]
    mixed_quality = part * quality[:-1] + (1 - part) * quality[1:]
    assert (curve.at(mixed_cost) >= mixed_quality - 1e-9).all()
    assert (np.diff(curve.quality) > 0).all()
    slopes = np.diff(curve.quality) / np.diff(curve.cost)
    assert (np.diff(slopes) <= 1e-9 * np.maximum(1, slopes[:-1])).all()


def test_calibration_error_by_hand() -> None:
    predicted = np.array([0.2, 0.2, 0.8, 0.8])
    assert expected_calibration_error(predicted, np.array([0.0, 0, 1, 1]), bins=2) == pytest.approx(0.2)
    assert expected_calibration_error(predicted, np.array([0.0, 0.4, 0.6, 1]), bins=2) == pytest.approx(0.0)
    # Equal forecasts share a bin however many bins there are.
    assert expected_calibration_error(np.full(100, 0.5), np.tile([0.0, 1.0], 50)) == pytest.approx(0.0)
    assert brier(predicted, np.array([0.0, 0, 1, np.nan])) == pytest.approx((0.04 + 0.04 + 0.04) / 3)
    assert np.isnan(brier(np.array([0.5]), np.array([np.nan])))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(1, 12), st.integers(0, 2**16))
def test_a_bootstrap_weighting_is_the_resampled_table_itself(n: int, values: int, seed: int) -> None:
    """RouteLLM's steps on the rows drawn, ties and all; rows that were not drawn weigh nothing."""
    rng = np.random.default_rng(seed)
    score = rng.integers(0, values, n).astype(float)
    weak, strong = rng.random(n) * 0.5, 0.5 + rng.random(n) * 0.5
    drawn = rng.integers(0, n, n)
    weight = np.bincount(drawn, minlength=n).astype(float)
    expected = routellm(score[drawn], weak[drawn], strong[drawn])
    found = PairScorer(score, weak, strong).figures(weight[None, :])
    assert found.apgr_binned[0] == pytest.approx(expected[0], abs=1e-9)
    assert found.cpt50_binned[0] == pytest.approx(expected[1], abs=1e-9)
    assert found.cpt80_binned[0] == pytest.approx(expected[2], abs=1e-9)
    copies = apgr(score[drawn], weak[drawn], strong[drawn], method="exact")
    assert found.apgr_exact[0] == pytest.approx(copies, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0.0, 1e-13, 1e-3, 1.0, 50.0]), min_size=3, max_size=30), st.integers(0, 2**16))
def test_a_curve_runs_from_always_weak_to_always_strong_whatever_the_weights(
    weights: list[float], seed: int
) -> None:
    weight = np.array([*weights, 1.0])
    rng = np.random.default_rng(seed)
    score, weak, strong = rng.integers(0, 5, len(weight)) * 1.0, rng.random(len(weight)), rng.random(len(weight))
    for method in ("binned", "exact"):
        curve = gain_curve(score, weak, strong, weight=weight, method=method)
        assert curve.share[0] == 0
        assert curve.share[-1] == 1, "exactly: nothing is left with the weak model"
        assert (np.diff(curve.share) >= 0).all()
        assert curve.quality[0] == curve.quality_weak == pytest.approx(np.average(weak, weights=weight))
        assert curve.quality[-1] == curve.quality_strong == pytest.approx(np.average(strong, weights=weight))


def test_a_curve_has_a_point_for_each_distinct_score_and_bins_have_eleven() -> None:
    score, weak, strong = np.array([3.0, 1, 1, 2]), np.array([0.0, 0.2, 0.4, 1]), np.array([1.0, 0.8, 0.4, 0.5])
    curve = gain_curve(score, weak, strong)
    assert curve.share.tolist() == pytest.approx([0, 0.25, 0.5, 1])
    assert curve.quality.tolist() == pytest.approx([0.4, 0.65, 0.525, 0.675])
    weighted = gain_curve(score, weak, strong, weight=np.array([2.0, 1, 1, 4]))
    assert weighted.share.tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert weighted.quality.tolist() == pytest.approx([0.575, 0.825, 0.575, 0.65])
    assert len(gain_curve(score, weak, strong, method="binned").share) == 11


def test_the_first_share_that_reaches_a_level_is_found_on_curves_that_fall_as_well() -> None:
    order = np.array([3.0, 2, 1])
    weak, strong = np.array([0.0, 1, 0]), np.array([1.0, 0, 1])  # up by 1/3, down, up
    assert cpt(order, weak, strong, level=0.5, method="exact") == pytest.approx(0.5 / 3)
    assert cpt(order[::-1], weak, strong, level=0.8, method="exact") == pytest.approx(0.8 / 3)
    falls_first = np.array([2.0, 3, 1])
    assert cpt(falls_first, weak, strong, level=0.5, method="exact") == pytest.approx((2 + 0.5) / 3)
    assert cpt(falls_first, weak, strong, level=0.8, method="exact") == pytest.approx((2 + 0.8) / 3)
    # A level part of the way along a flat piece is reached where the flat piece begins.
    flat = cpt(np.array([4.0, 3, 2, 1]), np.zeros(4), np.array([1.0, 0, 0, 1]), level=0.5, method="exact")
    assert flat == pytest.approx(0.25)


def test_equal_masses_fill_the_bins_of_a_calibration_and_ties_go_with_their_middle() -> None:
    rng = np.random.default_rng(6)
    predicted = rng.permutation(60) / 60
    outcome = (rng.random(60) < predicted).astype(float)
    found = reliability(predicted, outcome)
    order = np.argsort(predicted).reshape(15, 4)
    assert found.mass == pytest.approx(np.full(15, 1 / 15))
    assert found.predicted == pytest.approx(predicted[order].mean(axis=1))
    assert found.observed == pytest.approx(outcome[order].mean(axis=1))
    # Of ten rows the five at .5 lie around 4.5: in the lower half, though they reach up to 7.
    tied = reliability(np.repeat([0.1, 0.5, 0.9], [2, 5, 3]), np.repeat([0.0, 1.0], 5), bins=2)
    assert tied.mass == pytest.approx([0.7, 0.3])
    assert tied.predicted == pytest.approx([2.7 / 7, 0.9])
    assert tied.observed == pytest.approx([2 / 7, 1.0])


def test_a_weight_in_calibration_is_a_row_as_often() -> None:
    rng = np.random.default_rng(7)
    predicted, outcome = rng.integers(0, 30, 80) / 30, rng.random(80)
    outcome[::9] = np.nan
    times = rng.integers(1, 5, 80)
    heavy = reliability(predicted, outcome, weight=times * 0.5)
    copies = reliability(np.repeat(predicted, times), np.repeat(outcome, times))
    for name in ("predicted", "observed", "mass"):
        assert getattr(heavy, name) == pytest.approx(getattr(copies, name))
    assert heavy.mass.sum() == pytest.approx(1)
    error = expected_calibration_error(predicted, outcome, weight=times * 0.5)
    assert error == pytest.approx(sum(copies.mass * abs(copies.predicted - copies.observed)))
    mean_square = np.nanmean(np.repeat((predicted - outcome) ** 2, times))
    assert brier(predicted, outcome, weight=times * 0.5) == pytest.approx(mean_square)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gain_score": np.zeros((2, 2))}, "n values of each"),
        ({"quality_weak": np.zeros(3)}, "n values of each"),
        ({"quality_strong": np.zeros(3)}, "n values of each"),
        ({"weight": np.ones(3)}, "one positive weight per row"),
        ({"weight": np.array([1.0, np.nan])}, "one positive weight per row"),
        ({"weight": np.zeros(2)}, "one positive weight per row"),
        ({"method": "guessed"}, "'binned' or 'exact'"),
    ],
    ids=str,
)
def test_what_a_curve_cannot_be_drawn_from_is_refused(given: dict[str, object], words: str) -> None:
    usual = {"gain_score": np.arange(2.0), "quality_weak": np.zeros(2), "quality_strong": np.ones(2)}
    with pytest.raises((DataError, OptionError), match=words):
        gain_curve(**{**usual, **given})


def test_what_other_figures_cannot_be_had_from_is_refused() -> None:
    pair = (np.arange(2.0), np.zeros(2), np.ones(2))
    for level in (0.0, 1.0, np.nan):
        with pytest.raises(OptionError, match="level"):
            cpt(*pair, level=level)
    with pytest.raises(OptionError, match="method"):
        apgr(*pair, method="guessed")  # type: ignore[arg-type]
    for cost, quality in (([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [np.inf]), ([[1.0]], [[1.0]])):
        with pytest.raises(DataError, match="finite costs"):
            cost_quality_curve(np.array(cost), np.array(quality))
    for span in ((-1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)):
        with pytest.raises(OptionError, match="low <= high"):
            aiq(np.array([1.0, 2.0]), np.array([0.1, 0.2]), cost_range=span)
    for predicted, quality in (([0.5], [0.5, 0.5]), ([0.5], [np.nan]), ([np.nan], [1.0])):
        with pytest.raises(DataError, match="predicted"):
            reliability(np.array(predicted), np.array(quality))
    with pytest.raises(DataError, match="predicted"):
        reliability(np.ones(2), np.ones(2), weight=np.ones(3))
    assert reliability(np.array([np.nan, 0.5]), np.array([np.nan, 1.0])).predicted.tolist() == [0.5]


def test_hulls_keep_no_more_points_than_they_need() -> None:
    assert hull_indices(np.array([1.0, 2, 3]), np.array([0.25, 0.5, 0.75])) == [0, 2], "on the line between"
    assert hull_indices(np.array([1.0, 1, 1]), np.array([0.1, 0.3, 0.2])) == [1], "of equally dear ones the best"
    assert hull_indices(np.array([3.0, 1, 2]), np.array([0.5, 0.5, 0.9])) == [1, 2]
    assert hull_indices(np.array([0.0, 1, 2, 3]), np.array([0.0, 0.1, 0.2, 0.9])) == [0, 3], "two go at once"


def test_aiq_counts_only_what_lies_within_the_costs_asked_for() -> None:
    cost, quality = np.array([1.0, 2.0, 4.0]), np.array([0.2, 0.6, 0.8])
    assert aiq(cost, quality, cost_range=(1.0, 2.0)) == pytest.approx(0.4)
    assert aiq(cost, quality, cost_range=(2.0, 4.0)) == pytest.approx(0.7)
    assert aiq(cost, quality, cost_range=(3.0, 3.0)) == pytest.approx(0.7)
    assert aiq(cost, quality, cost_range=(1.5, 3.0)) == pytest.approx((0.5 * 0.5 + 0.65) / 1.5)
    assert aiq(cost, quality, cost_range=(0.0, 2.0)) == pytest.approx((0.1 + 0.4) / 2)
    assert cost_quality_curve(np.array([0.0, 1.0]), np.array([0.3, 0.5])).at(0.0) == pytest.approx(0.3)
