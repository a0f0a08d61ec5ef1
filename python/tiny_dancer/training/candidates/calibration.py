"""What a score is worth: probability of relevance, conformal p-values, how many candidates to keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from tiny_dancer.evaluation.conformal import conformal_quantile
from tiny_dancer.evaluation.relevance import ConformalRelevance

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.training.candidates.lists import Lists

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

MOST_KNOTS = 64
ALPHA = 0.1
TOP = 10
"""Calibrated on candidates ranked this high: nearly all others are plainly irrelevant, and with them everything at
the top would look certain to be one or the other."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What goes into an artifact.

    Attributes:
        tensors: float32, as the engine names them.
        header: `relevance`, `prediction` and `likeness`, each absent or None where too little was known.
    """

    tensors: Mapping[str, npt.NDArray[np.float32]]
    header: Mapping[str, Any]

    def with_(self, other: Calibration) -> Calibration:
        """Both together."""
        return Calibration({**self.tensors, **other.tensors}, {**self.header, **other.header})


def calibrate(lists: Lists, scores: Floats) -> Calibration:
    """Calibrates scores float64 [n] of lists they were not trained on.

    Out-of-fold scores come from scorers trained on less than the one they speak for, so what split conformal
    promises holds approximately (cross-conformal, Vovk 2015), and for further questions like these ones.
    """
    shares = log_shares(lists, scores)
    top = _top(lists, scores)
    tensors = probability_map(shares[top], lists.relevant[top].astype(np.float64), np.ones(len(top)))
    relevance = None
    if lists.relevant[top].any() and not lists.relevant[top].all():
        relevance = ConformalRelevance.conformalize(shares[top], lists.relevant[top], question=lists.question[top])
        tensors |= p_value_tensors(relevance)
    prediction = None
    margin = conformal_quantile(strangeness(lists, scores), ALPHA)
    if np.isfinite(margin):  # with fewer than nine questions no set would do
        prediction = {
            "alpha": ALPHA,
            "margin": float(np.nextafter(np.float32(margin), np.float32(np.inf))),
            "rows": len(lists),
        }
    header = {"calibrated_on": "share", "prediction": prediction}
    return Calibration(tensors, header | {"relevance": None if relevance is None else relevance.header()})


def strangeness(lists: Lists, scores: Floats) -> Floats:
    """How far down its list each question's best relevant candidate is, float64 [q]: (score of the first - its
    score) / σ + ln rank, σ the standard deviation of the list's scores.

    A candidate is kept where this is at most the calibrated margin: few where the first stands out, many where
    scores are close. Of ranks alone the sets are as large for all questions (half as large again on LoCoMo), of
    gaps alone some hold hundreds (``benchmarks/quality/bench_conformal_candidates.py``).
    """
    found = np.empty(len(lists))
    parts = zip(lists.split(scores), lists.split(lists.relevant), strict=True)
    for question, (own, relevant) in enumerate(parts):
        best = own[relevant.astype(np.bool_)].max()
        deviation = own.std()
        gap = (own.max() - best) / deviation if deviation > 0 else 0.0
        found[question] = gap + np.log(1 + np.count_nonzero(own > best))
    return found


def log_shares(lists: Lists, scores: Floats) -> Floats:
    """Scores [n] less ln Σ exp(scores of the same question), float64 [n].

    A scorer trained on whole lists is free to add anything to all scores of a question; what is left says how much
    better a candidate is than the others. Absolute scores called a first candidate relevant one time in five where
    it was every second time (``benchmarks/quality/bench_candidates.py``).
    """
    totals = [float(np.logaddexp.reduce(each)) for each in lists.split(scores)]
    shares: Floats = scores - np.repeat(totals, np.diff(lists.offsets))
    return shares


def _top(lists: Lists, scores: Floats) -> Ints:
    """The rows of each question's ``TOP`` highest scores; equal scores as the engine orders them."""
    order = np.lexsort((lists.tie, -scores, lists.question))
    place = np.arange(len(order)) - lists.offsets[lists.question]
    return np.sort(order[place < TOP])


def p_value_tensors(relevance: ConformalRelevance) -> dict[str, npt.NDArray[np.float32]]:
    """Its scores as a candidate artifact names them."""
    return {name.replace("conformal.", "relevance."): values for name, values in relevance.tensors().items()}


def probability_map(scores: Floats, relevant: Floats, weight: Floats) -> dict[str, npt.NDArray[np.float32]]:
    """Rising map from score to probability of relevance, at most 64 knots; linear in between.

    Isotonic regression with one knot a block. Each block counts half a row more of either kind: the highest block
    is often a handful of rows, all relevant, which is no certainty (Krichevsky and Trofimov 1981).

    Args:
        scores: float64 [n].
        relevant: float64 [n] in [0, 1].
        weight: float64 [n], rows each row stands for.
    """
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(scores, relevant, sample_weight=weight).predict(scores)
    _, block = np.unique(fitted, return_inverse=True)
    rows = np.bincount(block, weight)
    knots = (np.bincount(block, weight * scores) / rows).astype(np.float32)
    probabilities = (np.bincount(block, weight * relevant) + 0.5) / (rows + 1)
    probabilities = np.maximum.accumulate(probabilities).astype(np.float32)
    kept = np.unique(np.linspace(0, len(knots) - 1, min(len(knots), MOST_KNOTS)).round().astype(np.int64))
    kept = kept[np.concatenate([[True], np.diff(knots[kept]) > 0])]
    return {"calibration.scores": knots[kept], "calibration.probabilities": probabilities[kept]}
