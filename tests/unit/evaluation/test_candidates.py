from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.candidates import METRICS, evaluate_rankings, question_metrics, relevant_ranks


def ranks(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_textbook_example() -> None:
    # Three questions: first answer at 3, 2 and 1: MRR = (1/3 + 1/2 + 1) / 3 (Voorhees 1999 gives such an example).
    found = question_metrics([ranks(3), ranks(2, 7), ranks(1, 2, 6, 12)])
    assert found[:, 3].mean() == pytest.approx((1 / 3 + 1 / 2 + 1) / 3)
    assert found[:, 0].tolist() == [0, 0, 0.25]
    assert found[:, 1].tolist() == [1, 0.5, 0.5]
    assert found[:, 2].tolist() == [1, 1, 0.75]


def test_equal_scores_are_ordered_by_id_and_nan_ranks_last() -> None:
    scores = np.array([1.0, 2.0, 1.0, np.nan], np.float32)
    relevant = np.array([True, False, True, True])
    assert relevant_ranks(scores, relevant, ranks(2, 0, 1, 3)).tolist() == [2, 3, 4]
    assert relevant_ranks(scores, np.array([True, False, False, False]), ranks(2, 0, 1, 3)).tolist() == [3]


def test_a_question_without_relevant_candidates_is_refused() -> None:
    with pytest.raises(DataError, match="no relevant candidate"):
        question_metrics([ranks(1), ranks()])


@given(st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=12))
def test_metrics_are_shares_that_rise_with_k(found: list[set[int]]) -> None:
    values = question_metrics([ranks(*sorted(each)) for each in found])
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values[:, :3], axis=1) >= 0).all()
    for row, each in zip(values, found, strict=True):
        assert row[0] == (1 in each) / len(each)
        assert row[2] == sum(rank <= 10 for rank in each) / len(each)
        assert row[3] == 1 / min(each)


def test_methods_are_compared_question_by_question() -> None:
    random = np.random.default_rng(1)
    noise = random.integers(1, 30, 200)
    good = [ranks(int(each)) for each in np.maximum(noise // 3, 1)]
    bad = [ranks(int(each)) for each in noise]
    found = evaluate_rankings({"good": good, "bad": bad})
    assert set(found.metrics["good"]) == set(METRICS)
    assert found.questions == 200
    assert set(found.differences) == {"bad"}
    gain = found.differences["bad"]["recall@10"]
    assert gain.above_zero
    assert gain.estimate == pytest.approx(
        found.metrics["good"]["recall@10"].estimate - found.metrics["bad"]["recall@10"].estimate
    )
    # Paired: narrower than either figure's own interval.
    own = found.metrics["bad"]["mrr"]
    paired = found.differences["bad"]["mrr"]
    assert paired.high - paired.low < own.high - own.low + 0.05


def test_draws_and_seed_are_those_asked_for() -> None:
    ranked = {"one": [ranks(1), ranks(3), ranks(12)], "other": [ranks(2), ranks(1), ranks(4)]}
    assert evaluate_rankings(ranked, replicates=9, seed=1) == evaluate_rankings(ranked, replicates=9, seed=1)
    assert evaluate_rankings(ranked, replicates=9, seed=1) != evaluate_rankings(ranked, replicates=9, seed=2)
