"""Tables with many models: quality at equal cost and cost at equal quality against the best constant, 5-fold."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, table, write
from tiny_dancer import Outcomes, fit, read_outcomes
from tiny_dancer.evaluation.bootstrap import paired_difference
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.calibrate import expected_of
from tiny_dancer.training.policy import policies_of, policy_of

from tiny_dancer import Router  # isort: skip


def judged(outcomes: Outcomes) -> dict[str, object]:
    """The default policy, and the policies of the path nearest the best constant's cost and quality, out of fold.

    The best constant is the one of all rows, in hindsight: harder to beat than the one chosen on training rows.
    """
    n = len(outcomes)
    features = outcomes.features
    assert features is not None
    best = int(np.nanmean(outcomes.quality, axis=0).argmax())
    fold = grouped_folds(outcomes.group, 5, 0)
    decision = np.zeros(n, np.int64)
    greedy = np.zeros(n, np.int64)
    for number in range(5):
        test = np.flatnonzero(fold == number)
        fitted = fit(outcomes.rows(np.flatnonzero(fold != number)))
        batch = Router(fitted.artifact).route_features(features.rows(test))
        decision[test] = batch.choice
        header = Router(fitted.artifact).header
        path = policies_of(header)
        if path:
            expected = expected_of(header, batch)
            greedy[test] = path[0].decide(expected.quality, expected.cost)
        else:
            greedy[test] = policy_of(header).best_constant
    rows = np.arange(n)
    cost = outcomes.cost
    result: dict[str, object] = {"rows": n, "best constant": outcomes.models[best]}
    for name, chosen in (("default policy", decision), ("highest expected quality", greedy)):
        gap = paired_difference(
            outcomes.quality[rows, chosen], outcomes.quality[:, best], weight=None, group=outcomes.group
        )
        entry: dict[str, object] = {
            "quality": round(float(np.nanmean(outcomes.quality[rows, chosen])), 4),
            "minus best constant": [round(x, 4) for x in (gap.estimate, gap.low, gap.high)],
            "share of the best constant": round(float(np.mean(chosen == best)), 4),
        }
        if cost is not None and np.isfinite(cost[:, best]).all():
            means = [np.nanmean(column) if np.isfinite(column).any() else np.nan for column in cost.T]
            filled = np.where(np.isfinite(cost), cost, np.array(means))
            entry["cost relative to it"] = round(
                float(np.nanmean(filled[rows, chosen]) / filled[:, best].mean()), 4
            )
        result[name] = entry
    result["best constant's quality"] = round(float(np.nanmean(outcomes.quality[:, best])), 4)
    result["oracle"] = round(float(np.nanmax(outcomes.quality, axis=1).mean()), 4)
    return result


def main() -> None:
    """llmrouter whole, bfcl whole, and bfcl's nine models with costs."""
    figures: dict[str, object] = {}
    for name in ("llmrouter", "bfcl"):
        outcomes = table(name)
        if outcomes is None:
            return
        figures[name] = judged(outcomes)
    outcomes = table("bfcl")
    assert outcomes is not None and outcomes.cost is not None
    priced = [m for i, m in enumerate(outcomes.models) if np.isfinite(outcomes.cost[:, i]).any()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        subset = read_outcomes(SHARED / "bfcl.parquet", models=priced)
    from dataclasses import replace

    figures["bfcl, models with costs"] = judged(replace(subset, group=outcomes.group))
    write("many_models", figures, "5-fold out of fold; differences paired, 95 % cluster bootstrap.")


if __name__ == "__main__":
    main()
