"""What kind of task is a prompt, on sources left out? Macro-F1 with interval, beside TF-IDF + LR and the majority.

The shipped artifact's recipe (recipes/task_data.py) on the prompts that may ship, five folds a seed. Two splits:
whole
sources left out, and whole families (one instruction in other wordings and one data set under other instructions
are
one family), which is harder. The interval resamples sources or families. Scores are those of the rounded heads,
as the
engine computes them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))
from common import write
from task_data import Fitter, features, fitted_temperature, folds, held_out_scores, prompts, softmax

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]

SEEDS = (0, 1, 2)
RESAMPLES = 1000


def macro_f1(truth: Ints, found: Ints, labels: int, weight: npt.NDArray[np.float64] | None = None) -> float:
    """Mean F1 over the labels that occur."""
    table = np.zeros((labels, labels))
    np.add.at(table, (truth, found), 1.0 if weight is None else weight)
    right, of, as_ = np.diag(table), table.sum(1), table.sum(0)
    here = of > 0
    return float(np.mean(2 * right[here] / (of + as_)[here]))


def interval(truth: Ints, found: Ints, labels: int, group: Ints, other: Ints | None = None) -> list[float]:
    """Estimate and 95 % interval, groups resampled; of the difference to ``other`` where it is given."""
    dice = np.random.default_rng(0)
    groups = int(group.max()) + 1

    def value(weight: npt.NDArray[np.float64] | None) -> float:
        own = macro_f1(truth, found, labels, weight)
        return own if other is None else own - macro_f1(truth, other, labels, weight)

    drawn = [
        value(np.bincount(dice.integers(0, groups, groups), minlength=groups)[group].astype(float))
        for _ in range(RESAMPLES)
    ]
    return [round(float(each), 4) for each in (value(None), *np.quantile(drawn, [0.025, 0.975]))]


def tfidf(text: npt.NDArray[Any], truth: Ints, fold: Ints) -> Ints:
    """Words and pairs of words, logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    found = np.zeros(len(truth), np.int64)
    for number in np.unique(fold):
        train, held = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=20_000)
        model = LogisticRegression(C=10.0, max_iter=60, tol=1e-3)
        model.fit(words.fit_transform(text[train]), truth[train])
        found[held] = model.predict(words.transform(text[held]))
    return found


def calibration_error(probabilities: npt.NDArray[np.float32], truth: Ints) -> float:
    """Expected calibration error of the confidence, 15 bins of equal width."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.minimum((confidence * 15).astype(int), 14)
    return float(
        sum((bins == each).mean() * abs((right - confidence)[bins == each].mean()) for each in np.unique(bins))
    )


def more_data() -> dict[str, Any]:
    """The same rows, families left out, predicted after training on those that may ship, and on all: what the
    licences cost. Development only."""
    rows = prompts(shipped=False)
    fitter = Fitter(features(rows.text), rows.category)
    truth, labels = fitter.target.astype(np.int64), len(fitter.labels)
    group = np.unique(rows.family.astype(str), return_inverse=True)[1].astype(np.int64)
    fold = folds(rows.family, rows.category, SEEDS[0])
    own, every = np.zeros(len(truth), np.int64), np.zeros(len(truth), np.int64)
    for number in np.unique(fold):
        held = np.flatnonzero((fold == number) & rows.may_ship)
        own[held] = (
            fitter.fit(np.flatnonzero((fold != number) & rows.may_ship)).scores(fitter.given, held).argmax(1)
        )
        every[held] = fitter.fit(np.flatnonzero(fold != number)).scores(fitter.given, held).argmax(1)
    judged = np.flatnonzero(rows.may_ship)
    truth, own, every, group = truth[judged], own[judged], every[judged], group[judged]
    return {
        "trained_on_rows_that_may_ship": interval(truth, own, labels, group),
        "trained_on_all_rows": interval(truth, every, labels, group),
        "difference": interval(truth, every, labels, group, own),
    }


def main() -> None:
    rows = prompts()
    fitter = Fitter(features(rows.text), rows.category)
    truth, labels = fitter.target.astype(np.int64), len(fitter.labels)
    result: dict[str, Any] = {"rows": len(truth), "splits": {}}
    for name, of in (("sources", rows.source), ("families", rows.family)):
        group = np.unique(of.astype(str), return_inverse=True)[1].astype(np.int64)
        seeds, errors = [], []
        for seed in SEEDS:
            fold = folds(of, rows.category, seed)
            scores, _ = held_out_scores(fitter, fold)
            found = scores.argmax(1)
            seeds.append(round(macro_f1(truth, found, labels), 4))
            # The temperature of each half of the folds from the other half.
            probabilities = np.zeros_like(scores)
            for half in (0, 1):
                own = fold % 2 == half
                temperature = fitted_temperature(scores[~own], truth[~own], of[~own])
                probabilities[own] = softmax(scores[own], temperature)
            errors.append(calibration_error(probabilities, truth))
            if seed == SEEDS[0]:
                first, other = found, tfidf(rows.text, truth, fold)
                by = {
                    str(label): round(
                        float(
                            2
                            * ((found == at) & (truth == at)).sum()
                            / max(((found == at).sum() + (truth == at).sum()), 1)
                        ),
                        3,
                    )
                    for at, label in enumerate(fitter.labels)
                }
        majority = np.full(len(truth), np.bincount(truth).argmax())
        result["splits"][name] = {
            "groups": int(group.max()) + 1,
            "macro_f1": interval(truth, first, labels, group),
            "macro_f1_by_seed": seeds,
            "accuracy": round(float((first == truth).mean()), 4),
            "calibration_error_by_seed": [round(each, 4) for each in errors],
            "tfidf_lr": interval(truth, other, labels, group),
            "difference_to_tfidf_lr": interval(truth, first, labels, group, other),
            "majority": round(macro_f1(truth, majority, labels), 4),
            "f1_by_category": by,
        }
        print(name, result["splits"][name], flush=True)
    result["more_data"] = more_data()
    write("tasks", result, __doc__)


if __name__ == "__main__":
    main()
