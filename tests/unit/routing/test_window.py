"""How far the last decisions are from usual, by numbers that other tools of this kind stumble over too."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from tiny_dancer.routing.window import compare, compare_mix, ks_pvalue, psi
from tiny_dancer.training.drift import usual


def reference(values: list[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    knots, counts = usual(np.asarray(values, np.float32))
    return knots.astype(np.float64), counts.astype(np.float64)


def test_psi_is_the_formula_of_the_books() -> None:
    usual_counts, found = np.array([50.0, 30.0, 20.0]), np.array([20.0, 30.0, 50.0])
    p, q = (usual_counts + 0.5) / 101.5, (found + 0.5) / 101.5
    assert psi(usual_counts, found) == pytest.approx(sum((q - p) * np.log(q / p)))
    assert psi(usual_counts, usual_counts) == 0
    assert np.isfinite(psi(np.array([0.0, 10.0]), np.array([10.0, 0.0]))), "empty bins on either side"


def test_the_p_value_of_one_look_is_that_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for n, m, moved in ((200, 300, 0.0), (1000, 400, 0.1), (50, 900, 0.5)):
        one, other = generator.normal(size=n), generator.normal(size=m) + moved
        exact = ks_2samp(one, other, method="asymp")
        assert ks_pvalue(exact.statistic, n, m) == pytest.approx(exact.pvalue, abs=0.02)
    assert ks_pvalue(0.0, 10, 10) == 1
    assert 0 <= ks_pvalue(1.0, 1000, 1000) < 1e-100


def test_two_samples_of_one_distribution_are_alike_whatever_their_size_and_ties() -> None:
    """Binned quantiles have made others call 5,000 equal rows severe; so have few values, and small windows."""
    generator = np.random.default_rng(1)
    for n in (50, 1000, 5000):
        for discrete in (False, True):
            p_values, indices = [], []
            for _ in range(60):
                rows, values = generator.normal(size=400), generator.normal(size=n)
                if discrete:
                    rows, values = rows.round(), values.round()
                found = compare("quality", values, reference(rows))
                assert found.ks_p is not None
                assert found.psi is not None
                assert found.psi_alike is not None
                p_values.append(found.ks_p)
                indices.append(found.psi / found.psi_alike)
            assert np.mean(np.array(p_values) < 0.05) <= 0.13
            assert 0.5 < np.mean(indices) < 1.6, "what PSI is on average where nothing has changed is stated"


def test_what_has_moved_shows() -> None:
    generator = np.random.default_rng(2)
    found = compare("gain", generator.normal(size=500) + 1, reference(generator.normal(size=800)))
    assert found.psi is not None
    assert found.ks is not None
    assert found.ks_p is not None
    assert found.psi > 0.25
    assert found.ks > 0.3
    assert found.ks_p < 1e-6


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        ([0.5] * 50, [0.5] * 10),
        ([0.5] * 50, [0.9] * 10),
        ([0.5], [0.5]),
        ([0.5], [0.1] * 300),
        ([0.1, 0.9], [0.4]),
        ([float("nan")] * 40, [0.4]),
        ([0.2, 0.4] * 30, []),
        ([0.2, 0.4] * 30, [float("nan")] * 9),
        ([0.2, 0.4] * 30, [float("inf"), 0.2]),
    ],
    ids=["constant", "constant, elsewhere", "one row", "one row, many", "two rows", "no number", "no window",
         "nothing known", "not finite"],
)  # fmt: skip
def test_numbers_are_numbers_or_none(rows: list[float], values: list[float]) -> None:
    found = compare("quality", np.array(values, dtype=np.float64), reference(rows))
    for each in (found.psi, found.psi_alike, found.ks, found.ks_p):
        assert each is None or np.isfinite(each)
    assert found.ks_p is None or 0 <= found.ks_p <= 1
    assert found.ks is None or 0 <= found.ks <= 1
    assert found.window == int(np.isfinite(values).sum())
    if not found.window or not found.reference:
        assert found.psi is None


def test_a_constant_is_alike_to_itself_and_far_from_another() -> None:
    same = compare("quality", np.full(200, 0.5), reference([0.5] * 100))
    assert (same.ks, same.ks_p) == (0.0, 1.0)
    other = compare("quality", np.full(200, 0.9), reference([0.5] * 100))
    assert other.ks == 1.0
    assert other.ks_p is not None
    assert other.ks_p < 1e-9


def test_the_mix_of_models_has_a_psi_where_there_is_something_to_compare() -> None:
    assert compare_mix(np.array([0.0, 0.0]), np.array([5.0, 5.0])).psi is None
    assert compare_mix(np.array([5.0, 5.0]), None).psi is None
    alike = compare_mix(np.array([50.0, 50.0]), np.array([40.0, 40.0]))
    one = compare_mix(np.array([100.0, 0.0]), np.array([40.0, 40.0]))
    assert alike.psi is not None
    assert one.psi is not None
    assert alike.psi < 0.01 < 1 < one.psi, "all requests to one model"
