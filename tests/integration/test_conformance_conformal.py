"""Conformal prediction as Python sees it agrees with the readable reference, on shared vectors and at random."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.conformal import (
    AdaptiveConformal,
    SplitConformalClassifier,
    SplitConformalRanker,
    SplitConformalRegressor,
    conformal_quantile,
)
from tiny_dancer.evaluation.relevance import ConformalRelevance

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
sys.path.insert(0, str(CONFORMANCE))

from reference import conformal as reference  # noqa: E402

TOLERANCE = 1e-12
DOCUMENT = json.loads((CONFORMANCE / "vectors" / "conformal.json").read_text(encoding="utf-8"))


def vectors(what: str) -> list[Any]:
    found = [vector for vector in DOCUMENT["vectors"] if vector["what"] == what]
    assert found
    return [pytest.param(vector, id=vector["explain"]) for vector in found]


@pytest.mark.parametrize("vector", vectors("quantile"))
def test_quantiles(vector: Any) -> None:
    assert conformal_quantile(np.array(vector["scores"], np.float64), vector["alpha"]) == float(vector["expect"])


def residuals(vector: Any) -> SplitConformalRegressor:
    """Scores as the distances of values from 0."""
    scores = np.array(vector["scores"])
    zeros = np.zeros(len(scores))
    return SplitConformalRegressor.conformalize(zeros, scores, alpha=vector["alpha"], group=vector.get("groups"))


@pytest.mark.parametrize("vector", vectors("calibration"))
def test_calibrations(vector: Any) -> None:
    if "error" in vector["expect"]:
        assert vector["expect"]["error"] == "OptionInvalid"
        with pytest.raises(OptionError):
            residuals(vector)
        return
    header = residuals(vector).header()
    assert header["threshold"] == vector["expect"]["threshold"]
    own = {name: group["threshold"] for name, group in header.get("groups", {}).items()}
    assert own == vector["expect"]["groups"]
    assert header["rows"] == len(vector["scores"])


@pytest.mark.parametrize("vector", vectors("labels"))
def test_label_sets(vector: Any) -> None:
    calibration = SplitConformalClassifier.from_header(
        {"score": vector["method"], "alpha": 0.1, "rows": 100, "threshold": vector["threshold"]}
    )
    probabilities = np.array([vector["probabilities"]], np.float32)
    inside = calibration.predict_set(probabilities, uniform=[vector["uniform"]])[0]
    assert np.flatnonzero(inside).tolist() == sorted(vector["expect"]["set"])
    for label, score in enumerate(vector["expect"]["scores"]):
        # The score is where the label enters the set.
        for threshold, expected in ((score + 1e-9, True), (score - 1e-9, False)):
            if 0 <= threshold <= 1:
                moved = SplitConformalClassifier.from_header({**calibration.header(), "threshold": threshold})
                assert moved.predict_set(probabilities, uniform=[vector["uniform"]])[0, label] == expected


@pytest.mark.parametrize("vector", vectors("rank"))
def test_ranks(vector: Any) -> None:
    if vector["expect"] is None:
        with pytest.raises(OptionError, match="0 calibration rows"):
            SplitConformalRanker.conformalize([vector["scores"]], [vector["relevant"]], alpha=0.5)
        return
    ranker = SplitConformalRanker.conformalize([vector["scores"]], [vector["relevant"]], alpha=0.5)
    assert ranker.threshold == vector["expect"]
    kept = ranker.predict_set(vector["scores"])
    assert any(vector["relevant"][index] for index in kept)


@pytest.mark.parametrize("vector", vectors("relevance"))
def test_p_values(vector: Any) -> None:
    fitted = ConformalRelevance.conformalize(
        vector["scores"],
        vector["relevant"],
        question=vector.get("questions"),
        most_knots=vector["most_knots"],
    )
    np.testing.assert_allclose(fitted.p_values(vector["asked"]), vector["expect"], atol=TOLERANCE, rtol=TOLERANCE)
    np.testing.assert_allclose(
        fitted.uncertainty(vector["asked"]), np.min(vector["expect"], axis=1), atol=TOLERANCE
    )


@pytest.mark.parametrize("vector", vectors("adaptive"))
def test_levels(vector: Any) -> None:
    state = AdaptiveConformal.start(vector["alpha"], vector["gamma"])
    assert state.level == vector["alpha"]
    for covered, level in zip(vector["covered"], vector["expect"], strict=True):
        state = state.after(covered)
        assert state.level == pytest.approx(level, abs=TOLERANCE)


@given(
    st.lists(st.floats(-5, 5, width=32), max_size=60),
    st.integers(1, 99).map(lambda percent: percent / 100),
)
def test_quantiles_at_random(scores: list[float], alpha: float) -> None:
    assert conformal_quantile(np.array(scores, np.float64), alpha) == reference.quantile(scores, alpha)


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=60),
    st.integers(1, 80),
    st.floats(-6, 6),
)
def test_p_values_at_random(rows: list[tuple[float, bool]], room: int, asked: float) -> None:
    scores, relevant = [score for score, _ in rows], [flag for _, flag in rows]
    if len(set(relevant)) < 2:
        relevant[0] = not relevant[0]
    found = ConformalRelevance.conformalize(scores, relevant, most_knots=room).p_values([asked])[0]
    expected = reference.relevance(scores, relevant, None, room, asked)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=9).filter(any),
    st.floats(0, 1),
    st.sampled_from(["lac", "aps"]),
    st.floats(0.001, 0.999),
)
def test_label_sets_at_random(weights: list[int], uniform: float, method: str, threshold: float) -> None:
    probabilities = (np.array(weights) / sum(weights)).astype(np.float32)
    expected = reference.label_set(method, [float(p) for p in probabilities], uniform, threshold)
    header = {"score": method, "alpha": 0.1, "rows": 100, "threshold": threshold}
    found = SplitConformalClassifier.from_header(header).predict_set(probabilities[None], uniform=[uniform])
    assert np.flatnonzero(found[0]).tolist() == sorted(expected)
