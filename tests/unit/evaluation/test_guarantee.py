"""P-values are super-uniform, equal to brute force, and certificates hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.guarantee import (
    RISK_BOUNDS,
    betting_pvalue,
    budget_losses,
    certify,
    hoeffding_bentkus_pvalue,
    hoeffding_pvalue,
    naive_threshold,
    policy_losses,
    rows_needed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.types import Outcomes

MEAN = RISK_BOUNDS["mean"]
HARM = RISK_BOUNDS["harm"]
METHODS = ("betting", "hoeffding_bentkus", "hoeffding", "naive")


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 400), st.floats(0.01, 0.9), st.floats(0, 1))
def test_hoeffding_bentkus_is_its_formula(n: int, epsilon: float, mean: float) -> None:
    a = min(mean, epsilon)
    entropy = (a * math.log(a / epsilon) if a > 0 else 0.0) + (
        (1 - a) * math.log((1 - a) / (1 - epsilon)) if a < 1 else 0.0
    )
    bentkus = math.e * stats.binom.cdf(math.ceil(n * mean - 1e-9), n, epsilon)
    expected = min(1.0, math.exp(-n * entropy), bentkus)
    found = float(hoeffding_bentkus_pvalue(mean, n, epsilon))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-300)
    assert found <= float(hoeffding_pvalue(mean, n, epsilon)) + 1e-12


def test_betting_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    losses, epsilon, delta = rng.choice([-1.0, 0.0, 1.0], size=(40, 3), p=[0.1, 0.85, 0.05]), 0.1, 0.2
    expected = []
    for column in losses.T:
        wealth, best, seen = 1.0, 1.0, [1.0]
        for i, loss in enumerate(column):
            missing = max(0.0, math.log(1 / delta) - math.log(wealth))
            bet = min(math.sqrt(2 * missing / ((40 - i) * np.mean(seen))), 0.95 / (1 - epsilon))
            wealth *= 1 + bet * (epsilon - loss)
            best = max(best, wealth)
            seen.append((epsilon - loss) ** 2)
        expected.append(1 / best)
    np.testing.assert_allclose(betting_pvalue(losses, epsilon=epsilon, delta=delta, bounds=MEAN), expected)


@pytest.mark.parametrize("test", ["betting", "binomial", "hoeffding_bentkus", "hoeffding"])
@pytest.mark.parametrize("n", [30, 250])
def test_super_uniform_under_the_null(test: str, n: int) -> None:
    """At the worst null (risk exactly epsilon) the chance of p <= delta is at most delta."""
    rng = np.random.default_rng(n)
    draws, epsilon = 6000, 0.1
    binary = (rng.random((n, draws)) < epsilon).astype(float)
    for delta in (0.05, 0.1, 0.3):
        found = certify(binary, epsilon=epsilon, delta=delta, bounds=HARM, test=test, binary=True)
        share = np.mean(np.array(found.p_values) <= delta)
        assert share <= delta + 3.5 * math.sqrt(delta * (1 - delta) / draws)


@pytest.mark.parametrize(
    ("low", "high", "chance"),
    [(-1.0, 1.0, (0.02, 0.86, 0.12)), (0.0, 1.0, (0.4, 0.4, 0.2))],
    ids=["mean", "harm"],
)
def test_betting_is_super_uniform_for_any_bounded_loss(low: float, high: float, chance: tuple[float, ...]) -> None:
    rng = np.random.default_rng(5)
    values = np.array([low, (low + high) / 2, high])
    epsilon = float(np.dot(values, chance))
    losses = rng.choice(values, size=(200, 6000), p=chance)
    for delta in (0.05, 0.1, 0.3):
        p = betting_pvalue(losses, epsilon=epsilon, delta=delta, bounds=(low, high))
        for level in (delta / 2, delta, 2 * delta):  # a p-value at every level, not at its own delta alone
            assert np.mean(p <= level) <= level + 3.5 * math.sqrt(level * (1 - level) / 6000)


def test_smaller_of_two_p_values_is_not_one() -> None:
    """Why the module picks one test by a fixed rule: the minimum exceeds its level."""
    rng = np.random.default_rng(6)
    losses = (rng.random((60, 20000)) < 0.1).astype(float)
    one = stats.binom.cdf(losses.sum(axis=0), 60, 0.1)
    other = betting_pvalue(losses, epsilon=0.1, delta=0.1, bounds=HARM)
    assert max(np.mean(one <= 0.1), np.mean(other <= 0.1)) <= 0.107
    assert np.mean(np.minimum(one, other) <= 0.1) > max(np.mean(one <= 0.1), np.mean(other <= 0.1))


def test_power_orders_as_it_should() -> None:
    """On small paired losses betting certifies where Hoeffding-Bentkus and Hoeffding cannot."""
    rng = np.random.default_rng(7)
    losses = rng.choice([-1.0, 0.0, 1.0], size=(600, 2000), p=[0.04, 0.92, 0.04])
    share = {
        test: np.mean(np.array(certify(losses, epsilon=0.05, delta=0.1, bounds=MEAN, test=test).p_values) <= 0.1)
        for test in ("betting", "hoeffding_bentkus", "hoeffding")
    }
    assert share["betting"] > 0.95 > 0.3 > share["hoeffding_bentkus"] >= share["hoeffding"]


def test_fixed_sequence_stops_at_the_first_failure() -> None:
    n = 500
    losses = np.zeros((n, 4))
    losses[:, 2] = 1.0
    found = certify(losses, epsilon=0.05, delta=0.1, bounds=HARM)
    assert found.index == 1 and found.p_values[3] <= 0.1 and found.rows_needed is None
    worst_first = certify(losses[:, ::-1][:, 1:], epsilon=0.05, delta=0.1, bounds=HARM)
    assert worst_first.index is None


def test_binary_losses_take_the_exact_binomial() -> None:
    losses = np.zeros((100, 1))
    losses[:2] = 1.0
    found = certify(losses, epsilon=0.05, delta=0.1, bounds=HARM, binary=True)
    assert found.test == "binomial"
    assert found.p_values[0] == pytest.approx(stats.binom.cdf(2, 100, 0.05))
    losses[3] = 0.5
    with pytest.raises(DataError, match="binary"):
        certify(losses, epsilon=0.05, delta=0.1, bounds=HARM, binary=True)


def test_losses_of_policies() -> None:
    quality = np.array([[0.0, 1.0], [1.0, 0.0], [np.nan, 1.0], [1.0, np.nan]])
    decisions = np.array([[1, 0], [1, 0], [1, 0], [1, 0]])
    np.testing.assert_array_equal(
        policy_losses(quality, decisions, 1, risk="mean"), [[0, 1], [0, -1], [0, np.nan], [0, np.nan]]
    )
    np.testing.assert_array_equal(
        policy_losses(quality, decisions, 1, risk="harm"), [[0, 1], [0, 0], [0, np.nan], [0, np.nan]]
    )


def test_missing_losses_count_as_worst_or_leave_with_their_row() -> None:
    losses = np.zeros((400, 2))
    losses[:60, 1] = np.nan
    worst = certify(losses, epsilon=0.05, delta=0.1, bounds=HARM)
    assert worst.index == 0 and worst.risks[1] == pytest.approx(0.15) and worst.n == 400
    dropped = certify(losses, epsilon=0.05, delta=0.1, bounds=HARM, missing="drop")
    assert dropped.index == 1 and (dropped.n, dropped.dropped) == (340, 60)
    with pytest.raises(DataError, match="no row"):
        certify(np.full((3, 1), np.nan), epsilon=0.05, delta=0.1, bounds=HARM, missing="drop")


def test_groups_are_the_units() -> None:
    rng = np.random.default_rng(8)
    alone = rng.choice([0.0, 1.0], size=(40, 1), p=[0.98, 0.02])
    copies = np.repeat(alone, 20, axis=0)
    grouped = certify(copies, epsilon=0.1, delta=0.1, bounds=HARM, group=np.repeat(np.arange(40), 20))
    assert grouped.n == 40 and grouped.rows == 800
    assert grouped.p_values == certify(alone, epsilon=0.1, delta=0.1, bounds=HARM).p_values
    assert certify(copies, epsilon=0.1, delta=0.1, bounds=HARM).p_values[0] <= 0.1  # what copies would fake


def test_options_out_of_range_are_refused() -> None:
    losses = np.zeros((5, 1))
    with pytest.raises(OptionError, match="epsilon"):
        certify(losses, epsilon=0.0, delta=0.1, bounds=HARM)
    with pytest.raises(OptionError, match="delta"):
        certify(losses, epsilon=0.1, delta=1.0, bounds=HARM)
    with pytest.raises(DataError, match="outside"):
        certify(losses - 0.5, epsilon=0.1, delta=0.1, bounds=HARM)
    with pytest.raises(DataError, match="weight"):
        certify(losses, epsilon=0.1, delta=0.1, bounds=HARM, weight=np.arange(1.0, 6.0))
    with pytest.raises(OptionError, match="binomial on grouped"):
        certify(losses, epsilon=0.1, delta=0.1, bounds=HARM, test="binomial", group=np.zeros(5, dtype=np.int64))


@pytest.mark.parametrize("test", ["betting", "hoeffding_bentkus", "hoeffding"])
def test_rows_needed_is_honest(test: str) -> None:
    """At the number it names, a good part of fresh draws pass; at a quarter of it, few do."""
    rng = np.random.default_rng(9)

    def draw(n: int, draws: int) -> np.ndarray:
        return rng.choice([-1.0, 0.0, 1.0], size=(n, draws), p=[0.03, 0.93, 0.04])

    needed = rows_needed(draw(100_000, 1), epsilon=0.06, delta=0.1, bounds=MEAN, test=test)
    assert needed is not None

    def share_passing(n: int) -> float:
        found = certify(draw(n, 300), epsilon=0.06, delta=0.1, bounds=MEAN, test=test)
        return float(np.mean(np.array(found.p_values) <= 0.1))

    assert share_passing(needed) >= 0.35
    assert share_passing(needed // 4) <= 0.45 < share_passing(needed * 2)


def test_rows_needed_is_none_where_more_rows_do_not_help() -> None:
    losses = np.full((50, 1), 0.2)
    found = certify(losses, epsilon=0.1, delta=0.1, bounds=HARM)
    assert found.index is None and found.rows_needed is None
    few = certify(np.zeros((10, 1)), epsilon=0.05, delta=0.1, bounds=HARM)
    assert few.index is None and few.rows_needed is not None
    assert certify(np.zeros((few.rows_needed, 1)), epsilon=0.05, delta=0.1, bounds=HARM).index == 0


def coverage(losses: np.ndarray, *, epsilon: float, delta: float, splits: int) -> dict[str, tuple[int, float]]:
    """By method: how often the bound was broken, and the mean step certified towards all-weak.

    Calibration sets are 1,500 draws with replacement, so the table's own risk is the truth.
    """
    rng = np.random.default_rng(11)
    truth = losses.mean(axis=0)
    broken, steps = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0.0)
    for _ in range(splits):
        fit = losses[rng.integers(0, len(losses), size=1500)]
        for name in METHODS:
            index = (
                naive_threshold(fit, epsilon=epsilon)
                if name == "naive"
                else certify(fit, epsilon=epsilon, delta=delta, bounds=MEAN, test=name).index
            )
            broken[name] += index is not None and bool(truth[index] > epsilon)
            steps[name] += (-1 if index is None else index) / splits
    found = {name: (broken[name], round(steps[name], 2)) for name in METHODS}
    print(f"bound broken in {splits} splits, and mean step certified of {losses.shape[1] - 1}: {found}")
    return found


def assert_covered(found: dict[str, tuple[int, float]], splits: int, delta: float) -> None:
    allowed = int(stats.binom.ppf(0.999, splits, delta))
    for name in ("betting", "hoeffding_bentkus", "hoeffding"):
        assert found[name][0] <= allowed, found
    assert found["naive"][0] > allowed, found
    # Further down the sequence is fewer strong calls.
    assert found["betting"][1] >= found["hoeffding_bentkus"][1] >= found["hoeffding"][1], found


def test_coverage_on_synthetic_requests() -> None:
    rng = np.random.default_rng(10)
    n, splits, delta = 20_000, 200, 0.1
    score = rng.random(n)
    weak = (rng.random(n) < 0.9 - 0.3 * score).astype(float)
    strong = (rng.random(n) < 0.92 - 0.05 * score).astype(float)
    thresholds = np.linspace(0, 1, 41)
    decisions = (score[:, None] >= thresholds).astype(np.int64)
    losses = policy_losses(np.stack([weak, strong], axis=1), decisions, 1, risk="mean")
    assert_covered(coverage(losses, epsilon=0.04, delta=delta, splits=splits), splits, delta)


def test_coverage_on_real_mmlu_rows(real_table: Callable[[str], Outcomes]) -> None:
    table = real_table("mmlu")
    assert table.features is not None
    score = table.features.tokens.astype(float)
    strong = int(table.quality.mean(axis=0).argmax())
    thresholds = np.quantile(score, np.linspace(0, 1, 41))
    decisions = np.where(score[:, None] >= thresholds, strong, 1 - strong)
    losses = policy_losses(table.quality, decisions, strong, risk="mean")
    assert_covered(coverage(losses, epsilon=0.05, delta=0.1, splits=250), 250, 0.1)


def test_a_table_sorted_from_easy_to_hard_certifies_nothing_it_should_not() -> None:
    """Read from the top, its first half would pass at once; the requests to come are like all of it."""
    losses = np.repeat([0.0, 1.0], 300)[:, None]
    assert betting_pvalue(losses, epsilon=0.1, delta=0.1, bounds=HARM)[0] <= 0.1, "what the order would fake"
    for seed in range(20):
        assert certify(losses, epsilon=0.1, delta=0.1, bounds=HARM, seed=seed).index is None
    good = np.repeat([1.0, 0.0], [10, 590])[:, None]
    passed = [certify(good, epsilon=0.05, delta=0.1, bounds=HARM, seed=seed) for seed in range(20)]
    assert sum(each.index == 0 for each in passed) >= 15, "and its worst rows coming first deny nothing"
    assert len({each.p_values for each in passed}) > 1
    assert certify(good, epsilon=0.05, delta=0.1, bounds=HARM) == passed[0]


def test_p_values_by_hand() -> None:
    assert float(hoeffding_pvalue(0.02, 100, 0.1)) == pytest.approx(math.exp(-2 * 100 * 0.08**2))
    assert float(hoeffding_pvalue(0.3, 100, 0.1)) == 1.0, "an observed risk above the bound is no evidence"
    losses = np.repeat([-1.0, 0.0, 1.0], [10, 80, 10])[:, None]
    # On [-1, 1] a gap of .05 is half as wide as it is on [0, 1].
    found = certify(losses, epsilon=0.05, delta=0.1, bounds=MEAN, test="hoeffding")
    assert found.p_values[0] == pytest.approx(math.exp(-2 * 100 * 0.025**2))
    shifted = certify(losses, epsilon=0.05, delta=0.1, bounds=MEAN, test="hoeffding_bentkus")
    assert shifted.p_values[0] == pytest.approx(float(hoeffding_bentkus_pvalue(0.5, 100, 0.525)))
    assert found.risks == (0.0,)
    assert (found.epsilon, found.delta, found.test, found.dropped) == (0.05, 0.1, "hoeffding", 0)


def test_a_p_value_at_delta_itself_passes() -> None:
    losses = np.zeros((30, 1))
    for test in ("hoeffding", "hoeffding_bentkus", "binomial"):
        p = certify(losses, epsilon=0.1, delta=0.5, bounds=HARM, test=test).p_values[0]
        assert certify(losses, epsilon=0.1, delta=p, bounds=HARM, test=test).index == 0
        assert certify(losses, epsilon=0.1, delta=p * 0.999, bounds=HARM, test=test).index is None


@pytest.mark.parametrize(
    ("test", "rows"),
    # Without a loss 0.9ⁿ ≤ .1 from 22 rows on, e · 0.9ⁿ from 32, exp(−n / 50) from 116.
    [("binomial", 22), ("hoeffding_bentkus", 32), ("hoeffding", 116)],
)
def test_rows_needed_without_a_loss_are_known_exactly(test: str, rows: int) -> None:
    losses = np.zeros((5, 1))
    assert rows_needed(losses, epsilon=0.1, delta=0.1, bounds=HARM, test=test) == rows
    if test != "hoeffding_bentkus":  # which takes the smaller of two
        assert certify(np.zeros((rows, 1)), epsilon=0.1, delta=0.1, bounds=HARM, test=test).index == 0
        assert certify(np.zeros((rows - 1, 1)), epsilon=0.1, delta=0.1, bounds=HARM, test=test).index is None


def test_rows_needed_follow_the_variance_and_the_gap() -> None:
    def needed(losses: np.ndarray, epsilon: float = 0.05, delta: float = 0.1) -> int:
        found = rows_needed(losses[:, None], epsilon=epsilon, delta=delta, bounds=MEAN)
        assert found is not None
        return found

    calm, wild = np.repeat([-1.0, 0.0, 1.0], [20, 960, 20]), np.repeat([-1.0, 0.0, 1.0], [80, 840, 80])
    for losses, variance in ((calm, 0.04), (wild, 0.16)):
        # log 10 (2 v / gap² + …), of which the part without variance is the same for both.
        assert needed(losses) - needed(np.zeros(9)) == pytest.approx(
            math.log(10) * 2 * variance / 0.05**2, abs=1.01
        )
    # No variance: each row wins at most 0.95 · gap / (high − epsilon) of the capital; a few rows more to learn so.
    assert needed(np.zeros(9)) == math.ceil(math.log(10) * (1 / math.log1p(0.95 * 0.05 / 0.95) + 2))
    assert needed(calm, delta=0.01) == pytest.approx(2 * needed(calm), abs=2)
    scaled = rows_needed(np.zeros((9, 1)), epsilon=0.1, delta=0.1, bounds=MEAN, test="hoeffding")
    assert scaled == math.ceil(math.log(10) / (2 * 0.05**2)), "a gap of .1 on a range of 2 is one of .05"
    entropy = stats.entropy([0.5, 0.5], [0.55, 0.45])
    exact = rows_needed(np.zeros((9, 1)), epsilon=0.1, delta=0.1, bounds=MEAN, test="hoeffding_bentkus")
    assert exact == math.ceil((math.log(10) + 1) / entropy)


def test_rows_needed_are_those_of_the_nearest_policy_that_all_before_it_allow() -> None:
    nothing, little, much = np.zeros(50), np.repeat([0.0, 1.0], [49, 1]), np.repeat([0.0, 1.0], [47, 3])
    too_much = np.ones(50)

    def needed(*columns: np.ndarray) -> int | None:
        return rows_needed(np.stack(columns, axis=1), epsilon=0.1, delta=0.1, bounds=HARM)

    assert needed(little) is not None
    assert needed(much) > needed(little) > needed(nothing)  # type: ignore[operator]
    assert needed(nothing, little, much) == needed(little), "certifying a policy that saves nothing is no use"
    assert needed(much, little) == needed(much), "the one before has to pass as well"
    assert needed(too_much, little) is None
    assert needed(little, too_much) == needed(little)
    assert needed(nothing, too_much) is None
    assert needed(nothing, nothing) == needed(nothing)
    assert needed(np.repeat([0.0, 1.0], [45, 5])) is None, "a risk at the bound never falls below it"


def test_what_not_to_do_is_shown_as_it_would_be_done() -> None:
    losses = np.array([[0.0, 0.1, 0.2, np.nan], [0.0, 0.1, 0.4, 0.1]])
    assert naive_threshold(losses, epsilon=0.1) == 3
    assert naive_threshold(losses[:, :3], epsilon=0.1) == 1
    assert naive_threshold(losses[:, 2:3], epsilon=0.1) is None
    assert naive_threshold(losses[:, [2, 0]], epsilon=0.1) == 1


def test_group_means_are_what_is_certified() -> None:
    losses = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    found = certify(losses, epsilon=0.6, delta=0.1, bounds=HARM, group=np.array([7, 3, 3, 3]))
    assert found.risks == pytest.approx((0.5, 0.25 / 3))
    assert (found.n, found.rows) == (2, 4)
    holed = np.where(np.arange(4)[:, None] == 0, np.nan, losses)
    dropped = certify(holed, epsilon=0.6, delta=0.1, bounds=HARM, group=np.array([7, 3, 3, 3]), missing="drop")
    assert (dropped.n, dropped.rows, dropped.dropped) == (1, 3, 1)
    binary = certify((losses > 0.6) * 1.0, epsilon=0.6, delta=0.1, bounds=HARM, binary=True, group=np.arange(4))
    assert binary.test == "binomial", "groups of one row are rows"
    joined = certify(
        (losses > 0.6) * 1.0, epsilon=0.6, delta=0.1, bounds=HARM, binary=True, group=np.zeros(4, int)
    )
    assert joined.test == "betting", "means of several are not binary"


def test_a_reference_may_differ_from_row_to_row() -> None:
    quality = np.array([[0.2, 0.9], [0.2, 0.9], [np.nan, 0.9]])
    found = policy_losses(quality, np.array([[0, 1]] * 3), np.array([1, 0, 0]), risk="mean")
    np.testing.assert_allclose(found, [[0.7, 0.0], [0.0, -0.7], [0.0, np.nan]])
    with pytest.raises(OptionError, match="'mean', 'harm' or 'routed'"):
        policy_losses(quality, np.array([[0]] * 3), 0, risk="median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"missing": "ignore"}, "'worst' or 'drop'"),
        ({"test": "coin"}, "choose 'auto'"),
        ({"bounds": (0.0, 0.0)}, "low <= 0 < high"),
        ({"bounds": (0.1, 1.0)}, "low <= 0 < high"),
        ({"epsilon": 1.0}, "between 0 and 1.0"),
        ({"delta": 0.0}, "between 0 and 1"),
        ({"losses": np.zeros(5)}, "at least one of each"),
        ({"losses": np.zeros((5, 0))}, "at least one of each"),
        ({"losses": np.full((5, 1), 1.5)}, "within their bounds"),
        ({"losses": np.full((5, 1), 0.5), "test": "binomial"}, "do not declare them binary"),
        ({"group": np.zeros(4, np.int64)}, "one group per row"),
    ],
    ids=str,
)
def test_what_cannot_be_certified_is_refused(given: dict[str, object], words: str) -> None:
    usual = {"losses": np.zeros((5, 1)), "epsilon": 0.1, "delta": 0.1, "bounds": HARM}
    with pytest.raises((DataError, OptionError), match=words):
        certify(**{**usual, **given})  # type: ignore[arg-type]


def test_what_is_within_rounding_of_the_rules_is_not_refused() -> None:
    losses = np.array([[1.0 + 1e-13], [-1e-13]])
    assert certify(losses, epsilon=0.9, delta=0.1, bounds=HARM, weight=np.full(2, 3.0)).n == 2


@pytest.mark.parametrize("n", [40, 150])
@pytest.mark.parametrize("grouped", [False, True], ids=["alone", "in groups"])
def test_a_risk_among_routed_requests_is_super_uniform(n: int, grouped: bool) -> None:
    """At the worst null the failure rate among routed requests is epsilon; how many are routed is random."""
    rng = np.random.default_rng(n)
    epsilon, delta, draws = 0.15, 0.1, 300
    wrong = 0
    for _ in range(draws):
        routed = rng.random((n, 1)) < 0.7
        failed = (rng.random((n, 1)) < epsilon).astype(float)
        group = None
        if grouped:  # pairs of rows with the same outcome
            routed, failed, group = np.repeat(routed, 2, 0), np.repeat(failed, 2, 0), np.repeat(np.arange(n), 2)
        losses = np.where(routed, failed, 0.0)
        found = certify(losses, epsilon=epsilon, delta=delta, bounds=HARM, binary=True, among=routed, group=group)
        wrong += found.index is not None
        assert found.test == ("betting" if grouped else "binomial")
        assert found.n == n
        assert found.counted == (int(routed.sum()) // (2 if grouped else 1),)
    assert wrong <= stats.binom.ppf(0.999, draws, delta)


def test_several_starts_together_are_wrong_as_rarely_as_promised() -> None:
    """Thirty policies at the null, each routing some requests more."""
    rng = np.random.default_rng(2)
    epsilon, delta, draws, n = 0.1, 0.1, 200, 400
    wrong = 0
    for _ in range(draws):
        score = rng.random(n)
        among = score[:, None] < np.linspace(0.05, 1.0, 30)
        failed = (rng.random(n) < epsilon).astype(float)
        losses = np.where(among, failed[:, None], 0.0)
        found = certify(losses, epsilon=epsilon, delta=delta, bounds=HARM, binary=True, among=among)
        wrong += found.index is not None
    assert wrong <= stats.binom.ppf(0.999, draws, delta)


def test_routed_requests_are_certified_where_they_fail_rarely() -> None:
    """The true failure rate among the share s that is routed is .15 s: up to two thirds may be."""
    rng = np.random.default_rng(4)
    shares, n = np.linspace(0.02, 1.0, 50), 800
    reached = []
    for _ in range(20):
        score = rng.random(n)
        failed = (rng.random(n) < 0.3 * score).astype(float)
        among = score[:, None] < shares
        losses = np.where(among, failed[:, None], 0.0)
        found = certify(losses, epsilon=0.1, delta=0.05, bounds=HARM, binary=True, among=among)
        reached.append(0.0 if found.index is None else float(shares[found.index]))
    assert np.median(reached) > 0.3
    assert max(reached) < 0.75
    few = certify(losses[:20], epsilon=0.3, delta=0.05, bounds=HARM, binary=True, among=among[:20])
    assert few.index is None
    assert few.rows_needed is not None and few.rows_needed > 20


def test_the_worst_failures_are_those_of_the_policy_among_what_it_routes() -> None:
    quality = np.array([[0.2, 0.9], [0.9, 0.2], [np.nan, 0.9], [0.5, 0.5]])
    decisions = np.array([[0], [0], [0], [1]])
    np.testing.assert_array_equal(
        policy_losses(quality, decisions, 1, risk="routed"), [[1.0], [0.0], [np.nan], [0.0]]
    )


def test_copies_make_false_certificates_and_groups_do_not() -> None:
    """Each of 60 independent requests four times, at the worst null: what the issue of copies costs."""
    rng = np.random.default_rng(5)
    draws, epsilon, delta = 150, 0.1, 0.1
    wrong = {"as rows": 0, "as groups": 0}
    for _ in range(draws):
        losses = np.repeat((rng.random(60) < epsilon).astype(float), 4)[:, None]
        group = np.repeat(np.arange(60), 4)
        for name, known in (("as rows", None), ("as groups", group)):
            found = certify(losses, epsilon=epsilon, delta=delta, bounds=HARM, group=known)
            wrong[name] += found.index is not None
    assert wrong["as rows"] > 0.2 * draws
    assert wrong["as groups"] <= stats.binom.ppf(0.999, draws, delta)


def test_budgets_by_request_and_by_batch() -> None:
    cost = np.array([[0.1, 1.0], [0.1, 3.0], [0.1, np.nan], [0.1, 1.0]])
    decisions = np.array([[0, 1]] * 4)
    losses, group = budget_losses(cost, decisions, 2.0)
    np.testing.assert_array_equal(losses, [[0, 0], [0, 1], [0, np.nan], [0, 0]])
    assert group is None
    by_batch, units = budget_losses(np.nan_to_num(cost, nan=1.0), decisions, 1.9, batch=2)
    assert units is None
    assert by_batch.shape == (2, 2)
    assert by_batch[:, 1].sum() == 1, "one of two batches holds the request of 3 USD"
    grouped, units = budget_losses(cost[:2], decisions[:2], 1.9, batch=1, group=np.array([5, 5]))
    assert units is not None and len(grouped) == 2


def test_budgets_are_broken_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(6)
    draws, delta, wrong = 400, 0.1, 0
    for _ in range(draws):
        cost = rng.exponential(1.0, (200, 1))
        losses, _ = budget_losses(cost, np.zeros((200, 1), np.int64), -np.log(0.1))  # exceeded by 10 %
        wrong += certify(losses, epsilon=0.1, delta=delta, bounds=HARM, binary=True).index is not None
    assert wrong <= stats.binom.ppf(0.999, draws, delta)
