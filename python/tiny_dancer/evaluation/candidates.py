"""How well candidates are ranked: recall@k and mean reciprocal rank, with paired bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.bootstrap import bootstrap_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

CUTOFFS = (1, 5, 10)
METRICS = (*(f"recall@{k}" for k in CUTOFFS), "mrr")


@dataclass(frozen=True, slots=True)
class RankingEvaluation:
    """Rankings by several methods of the same questions.

    Attributes:
        questions: how many.
        metrics: method → metric (`recall@1`, `recall@5`, `recall@10`, `mrr`) → mean over questions with its
            interval.
        differences: method → metric → the first method minus this one, paired question by question.
        trained_on: share of the questions that the scorer was trained on: its figures are too good.
    """

    questions: int
    metrics: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Mapping[str, Interval]]
    trained_on: float = 0.0


def relevant_ranks(scores: npt.NDArray[np.floating], relevant: npt.NDArray[np.bool_], tie: Ints) -> Ints:
    """Ranks of the relevant candidates, from 1, rising.

    Args:
        scores: float [n], higher is better; NaN ranks last.
        relevant: bool [n].
        tie: int64 [n]: of equal scores the candidate with the smaller value comes first. The engine orders by id.
    """
    order = np.lexsort((tie, -scores))
    return (np.flatnonzero(relevant[order]) + 1).astype(np.int64)


def question_metrics(ranks: Sequence[Ints]) -> Floats:
    """Metrics of each question, float64 [questions, 4]: recall at 1, 5 and 10, reciprocal rank.

    Recall@k is the share of a question's relevant candidates among the first k; the reciprocal rank is that of the
    first relevant one (Manning, Raghavan and Schütze 2008, chapter 8; Voorhees 1999).

    Args:
        ranks: per question the ranks of all its relevant candidates, from 1, rising.

    Raises:
        DataError: a question without a relevant candidate: neither is defined.
    """
    values = np.empty((len(ranks), len(METRICS)))
    for question, found in enumerate(ranks):
        if not len(found):
            raise DataError(f"ranks[{question}]", "no relevant candidate", "leave out questions without one")
        values[question] = [*((found <= k).mean() for k in CUTOFFS), 1 / found[0]]
    return values


def evaluate_rankings(
    methods: Mapping[str, Sequence[Ints]], *, replicates: int = 1000, seed: int = 0
) -> RankingEvaluation:
    """Judges methods on the same questions; questions are what is resampled.

    Intervals speak of further questions about the same conversations. Of other conversations, two or four say too
    little for an interval.

    Args:
        methods: name → per question the ranks of its relevant candidates; the first is compared with the others.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        DataError: no questions, or one without a relevant candidate.
    """
    names = tuple(methods)
    values = np.concatenate([question_metrics(methods[name]) for name in names], axis=1)
    found = bootstrap_shares(values, replicates=replicates, seed=seed)
    width = len(METRICS)
    return RankingEvaluation(
        len(values),
        {
            name: {metric: found.interval(method * width + place) for place, metric in enumerate(METRICS)}
            for method, name in enumerate(names)
        },
        {
            name: {
                metric: found.interval(place, minus=method * width + place) for place, metric in enumerate(METRICS)
            }
            for method, name in enumerate(names)
            if method
        },
    )
