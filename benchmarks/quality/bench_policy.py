"""What the named policies are worth on fresh splits: a fresh training on each, judged on the rows left out.

Per table and policy: quality less that of the best constant (the one of the training rows, and the one of the test
rows in hindsight), in how many splits it lies more than .002 below, cost relative to the best constant's, and what
the same calls dealt out at random reach. Where there are costs, also the mean quality over equal costs, from the
cheapest model to the best constant, less that of a TF-IDF ridge on quality less the row's mean, under the same
expected costs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, draw, mean_with_interval, table, write
from tiny_dancer import Outcomes, Router, fit
from tiny_dancer.training.policy import NAMES

SPLITS = {"shaberi": 4, "bfcl": 8, "llmrouter": 2, "zeroeval": 20}
SHARES = (1 / 2, 2 / 3)
"""Of the rows to train on, in turn."""
BELOW = -0.002
LEVELS = 40


def ridge(texts: np.ndarray, quality: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of a TF-IDF ridge whose targets are quality less the row's mean, its strength by leave-one-out."""
    filled = np.where(np.isfinite(quality[train]), quality[train], np.nanmean(quality[train], axis=0))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_features=20_000)
    rows = words.fit_transform(texts[train])
    model = RidgeCV(alphas=(1.0, 3.0, 10.0, 30.0)).fit(rows, filled - filled.mean(1, keepdims=True))
    return np.asarray(model.predict(words.transform(texts[test])))


def over_costs(
    scores: np.ndarray, expected: np.ndarray, quality: np.ndarray, cost: np.ndarray, best: int
) -> float:
    """Mean quality at costs evenly spread, by ratio, from the cheapest model's to the best constant's."""
    rows, spread = np.arange(len(scores)), float(np.ptp(expected.mean(0)))
    points = []
    for weight in np.append(0.0, np.geomspace(1e-4, 30, 150) / spread):
        choice = (scores - weight * expected).argmax(1)
        points.append((cost[rows, choice].mean(), np.nanmean(quality[rows, choice])))
    spent, reached = np.array(sorted(points)).T
    levels = np.geomspace(cost.mean(0).min(), cost[:, best].mean(), LEVELS)
    return float(np.interp(levels, spent, reached).mean())


def one(outcomes: Outcomes, texts: np.ndarray, share: float, seed: int) -> dict[str, object]:
    """One split: figures by policy, and the area."""
    train, test = draw(outcomes, int(share * len(outcomes)), seed)
    start = time.process_time()
    fitted = fit(outcomes.rows(train))
    seconds = time.process_time() - start
    assert outcomes.features is not None
    batch = Router(fitted.artifact).route_features(outcomes.features.rows(test))
    scores, known = batch.scores.astype(np.float64), bool(np.isfinite(batch.costs).any())
    quality, rows = outcomes.quality[test], np.arange(len(test))
    best = fitted.policy.best_constant
    hindsight = float(np.nanmean(quality, axis=0).max())
    found: dict[str, object] = {"bytes": len(fitted.artifact), "seconds": seconds}
    cost = None
    if outcomes.cost is not None and np.isfinite(outcomes.cost[:, best]).all():
        means = np.array([np.nanmean(each) if np.isfinite(each).any() else np.nan for each in outcomes.cost.T])
        cost = np.where(np.isfinite(outcomes.cost[test]), outcomes.cost[test], means)
    for name in NAMES:
        choice = fitted.policies.get(name).decide(scores, batch.costs if known else None)
        reached = quality[rows, choice]
        shares = np.bincount(choice, minlength=quality.shape[1]) / len(choice)
        found[name] = {
            "gap": float(np.nanmean(reached - quality[:, best])),
            "hindsight": float(np.nanmean(reached)) - hindsight,
            "calls": float((choice == best).mean()),
            "cost": np.nan if cost is None else float(np.nanmean(cost[rows, choice]) / cost[:, best].mean()),
            "over random": float(np.nanmean(reached) - np.nanmean(quality, axis=0) @ shares),
        }
    if cost is not None:
        priced = np.flatnonzero(np.isfinite(cost).all(0))
        place = int(np.flatnonzero(priced == best)[0])
        grounds = (batch.costs[:, priced], quality[:, priced], cost[:, priced], place)
        baseline = ridge(texts, outcomes.quality, train, test)
        found["area"] = over_costs(scores[:, priced], *grounds)
        found["area of the ridge"] = over_costs(baseline[:, priced], *grounds)
    return found


def judged(name: str, outcomes: Outcomes) -> dict[str, object]:
    """All splits of a table."""
    column = pq.read_table(SHARED / f"{name}.parquet", columns=["prompt"])["prompt"]
    texts = np.array([text or "" for text in column.to_pylist()], dtype=object)
    found = [one(outcomes, texts, SHARES[seed % 2], seed) for seed in range(SPLITS[name])]
    # Where the best constant of the training rows has no price, costs cannot be set in relation to it.
    priced = [split for split in found if "area" in split]
    result: dict[str, object] = {
        "rows": len(outcomes),
        "models": len(outcomes.models),
        "splits": len(found),
        "splits with a price for the best constant": len(priced),
    }
    for policy in NAMES:
        each = {key: [split[policy][key] for split in found] for key in found[0][policy]}  # type: ignore[index]
        result[policy] = {
            "minus best constant": mean_with_interval(each["gap"]),
            "worst split": round(min(each["gap"]), 4),
            "share of splits below -.002": round(float(np.mean(np.array(each["gap"]) < BELOW)), 3),
            "minus best constant in hindsight": mean_with_interval(each["hindsight"]),
            "share of its calls": round(float(np.mean(each["calls"])), 4),
            "cost relative to it": round(float(np.nanmean(each["cost"])), 4) if priced else None,
            "minus its own calls at random": mean_with_interval(each["over random"]),
        }
    if priced:
        own, ridges = ([split[key] for split in priced] for key in ("area", "area of the ridge"))
        result["mean quality over equal costs"] = mean_with_interval(own)
        result["minus TF-IDF ridge"] = mean_with_interval([a - b for a, b in zip(own, ridges, strict=True)])
    result["largest artifact, bytes"] = max(split["bytes"] for split in found)
    result["CPU seconds to train"] = round(float(np.mean([split["seconds"] for split in found])), 1)
    return result


def main() -> None:
    """All tables, or those named."""
    figures: dict[str, object] = {}
    for name in sys.argv[1:] or SPLITS:
        outcomes = table(name)
        if outcomes is None:
            return
        figures[name] = judged(name, outcomes)
        print(name, json.dumps(figures[name], indent=1), flush=True)
    write(
        "policy",
        figures,
        "Fresh training on each split (half or two thirds of the rows, whole groups); [mean, low, high] over "
        "splits at 95 %. Targets for balanced: mean ≥ -.001, at most 10 % of the splits below -.002.",
    )


if __name__ == "__main__":
    main()
