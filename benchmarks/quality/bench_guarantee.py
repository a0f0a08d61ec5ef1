"""Does the guarantee hold? Random splits of real rows: train once on a part, certify on some rows, test on others.

Per split: rows are dealt (in whole groups) into calibration and test; a violation is a certified policy whose
mean loss on the test rows exceeds ε. The test mean is itself noisy, which counts against the certificate here.
The naive rule (cheapest policy whose calibration mean is within ε) and a plain Hoeffding bound run on the same
splits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from scipy.stats import binomtest

from common import draw, table, write
from tiny_dancer import Router, fit
from tiny_dancer.evaluation.guarantee import RISK_BOUNDS, Test, certify, naive_threshold, policy_losses
from tiny_dancer.training.calibrate import expected_of
from tiny_dancer.training.policy import policies_of

SPLITS = 300
DELTA = 0.1
METHODS: tuple[tuple[str, Test, float], ...] = (
    ("calibrate (betting at delta / 8)", "betting", DELTA / 8),
    ("betting at delta", "betting", DELTA),
    ("hoeffding-bentkus", "hoeffding_bentkus", DELTA),
    ("hoeffding", "hoeffding", DELTA),
)
SETTINGS = {"mmlu": (1500, 0.05), "gsm8k": (250, 0.12)}


def main() -> None:
    """Both tables, mean quality lost, δ = .1."""
    figures: dict[str, object] = {}
    for name, (training_rows, epsilon) in SETTINGS.items():
        outcomes = table(name)
        if outcomes is None:
            return
        train, rest = draw(outcomes, training_rows, 0)
        fitted = fit(outcomes.rows(train))
        router = Router(fitted.artifact)
        held_out = outcomes.rows(rest)
        assert held_out.features is not None
        expected = expected_of(router.header, router.route_features(held_out.features))
        best = router.header["best_constant"]
        path = policies_of(router.header)
        decisions = np.stack([policy.decide(expected.quality, expected.cost) for policy in path], axis=1)
        losses = policy_losses(held_out.quality, decisions, best, risk="mean")
        strong = (decisions == best).mean(axis=0)
        truth = losses.mean(axis=0)
        methods: dict[str, list[tuple[bool, bool, float]]] = {}
        rng = np.random.default_rng(1)
        groups = np.unique(held_out.group, return_inverse=True)[1]
        for _ in range(SPLITS):
            calibration = (rng.permutation(groups.max() + 1) < groups.max() / 2)[groups]
            part, test = losses[calibration], losses[~calibration]
            chosen = {
                method: certify(
                    part,
                    epsilon=epsilon,
                    delta=level,
                    bounds=RISK_BOUNDS["mean"],
                    group=groups[calibration],
                    test=test_name,
                ).index
                for method, test_name, level in METHODS
            }
            chosen["naive"] = naive_threshold(part, epsilon=epsilon)
            for method, index in chosen.items():
                broken = index is not None and float(test[:, index].mean()) > epsilon
                truly = index is not None and float(truth[index]) > epsilon
                share = 1.0 if index is None else float(strong[index])
                methods.setdefault(method, []).append((broken, truly, share))
        entry: dict[str, object] = {
            "epsilon": epsilon,
            "delta": DELTA,
            "splits": SPLITS,
            "calibration rows": int(len(rest) / 2),
        }
        for method, seen in methods.items():
            broken, truly = sum(each[0] for each in seen), sum(each[1] for each in seen)
            entry[method] = {
                "violations on test half": broken,
                "violations against all held-out rows": truly,
                "p(violations > delta), binomial, test half": round(
                    binomtest(broken, SPLITS, DELTA, alternative="greater").pvalue, 4
                ),
                "p(violations > delta), binomial, all held-out rows": round(
                    binomtest(truly, SPLITS, DELTA, alternative="greater").pvalue, 4
                ),
                "mean share of strong calls": round(float(np.mean([each[2] for each in seen])), 4),
            }
        figures[name] = entry
    write(
        "guarantee",
        figures,
        "Learn-then-Test on random splits of real rows; share of strong calls: lower is cheaper.",
    )


if __name__ == "__main__":
    main()
