"""APGR (RouteLLM's ten bins) of a freshly trained router beside prompt length and TF-IDF ridge, on rows not seen.

Two protocols: 5-fold, near-duplicates kept together; few labels, mean over random draws. Differences are paired.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import draw, mean_with_interval, table, write
from tiny_dancer import Outcomes, Router, fit
from tiny_dancer.evaluation.baselines import tfidf_ridge
from tiny_dancer.evaluation.bootstrap import paired_bootstrap
from tiny_dancer.evaluation.metrics import PairScorer, apgr
from tiny_dancer.evaluation.split import grouped_folds

FEW = {"mmlu": 1500, "gsm8k": 400}
SEEDS = {"mmlu": 1, "gsm8k": 4}
DRAWS = 8


def scores(outcomes: Outcomes, train: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Gain of strong over weak on the test rows, by each method."""
    features = outcomes.features
    assert features is not None
    router = Router(fit(outcomes.rows(train)).artifact)
    quality = router.route_features(features.rows(test)).scores.astype(np.float64)
    folds = np.full(len(outcomes), 2)
    folds[train], folds[test] = 1, 0
    both = np.concatenate([train, test])
    baseline = tfidf_ridge(features.rows(both), outcomes.quality[both], folds[both])[len(train) :]
    return {
        "router": quality[:, 1] - quality[:, 0],
        "length": features.tokens[test].astype(np.float64),
        "tfidf": baseline[:, 1] - baseline[:, 0],
    }


def few_labels(outcomes: Outcomes, rows: int) -> dict[str, object]:
    """Mean over draws of ``rows`` training rows, tested on all the rest."""
    found: dict[str, list[float]] = {"router": [], "length": [], "tfidf": []}
    for seed in range(DRAWS):
        train, test = draw(outcomes, rows, seed)
        for name, score in scores(outcomes, train, test).items():
            found[name].append(apgr(score, *outcomes.quality[test].T))
    return summary(found) | {"draws": DRAWS, "labels": rows}


def summary(found: dict[str, list[float]]) -> dict[str, object]:
    """Means with intervals, and the router's paired differences."""
    result: dict[str, object] = {name: mean_with_interval(values) for name, values in found.items()}
    for name in ("length", "tfidf"):
        result[f"router minus {name}"] = mean_with_interval(
            [own - other for own, other in zip(found["router"], found[name], strict=True)]
        )
    return result


def five_fold(outcomes: Outcomes, seeds: int) -> dict[str, object]:
    """Mean APGR over folds and seeds; intervals by a cluster bootstrap of the first seed's pooled predictions."""
    found: dict[str, list[float]] = {"router": [], "length": [], "tfidf": []}
    pooled: dict[str, np.ndarray] = {}
    for seed in range(seeds):
        fold = grouped_folds(outcomes.group, 5, seed)
        for number in range(5):
            test = np.flatnonzero(fold == number)
            for name, score in scores(outcomes, np.flatnonzero(fold != number), test).items():
                found[name].append(apgr(score, *outcomes.quality[test].T))
                if seed == 0:
                    pooled.setdefault(name, np.zeros(len(outcomes)))[test] = score
    scorers = {name: PairScorer(score, *outcomes.quality.T) for name, score in pooled.items()}
    boot = paired_bootstrap(
        lambda weights: np.stack([each.figures(weights).apgr_binned for each in scorers.values()], axis=1),
        len(outcomes),
        group=outcomes.group,
    )
    result: dict[str, object] = {"mean of folds": {k: round(float(np.mean(v)), 4) for k, v in found.items()}}
    for index, name in enumerate(scorers):
        each = boot.interval(index)
        result[f"pooled {name}"] = [round(x, 4) for x in (each.estimate, each.low, each.high)]
        if name != "router":
            gap = boot.interval(0, minus=index)
            result[f"pooled router minus {name}"] = [round(x, 4) for x in (gap.estimate, gap.low, gap.high)]
    return result | {"seeds": seeds}


def main() -> None:
    """Both protocols on both tables."""
    figures: dict[str, object] = {}
    for name, rows in FEW.items():
        outcomes = table(name)
        if outcomes is None:
            return
        figures[name] = {"few labels": few_labels(outcomes, rows), "5-fold": five_fold(outcomes, SEEDS[name])}
    write(
        "apgr",
        figures,
        "APGR; [estimate, low, high] at 95 %; .5 is random. Targets: mmlu .59 / .57, gsm8k .67 / .65.",
    )


if __name__ == "__main__":
    main()
