"""Does confidence come true, under the default policy and every other? Calibration error on rows not trained on.

A decision is right where no other model scored higher than the one chosen. Per policy: the share that was right,
the mean confidence, and the expected calibration error (ten bins of equal size) of the confidence that decisions
carry. Beside it stand what a map for the choices of the default policy alone gives under the same policies (the
margin over the runner-up to the share on which the runner-up was no better, as artifacts had it before), and a
constant: the share of right choices among the training rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import draw, table, write
from tiny_dancer import DecisionBatch, Fitted, Outcomes, Router, _core, calibrate, fit
from tiny_dancer.errors import NotCertifiedError, OptionError
from tiny_dancer.evaluation.overlap import training_rows
from tiny_dancer.training.calibrate import dial_cost_cut
from tiny_dancer.training.heads import MonotoneMap, isotonic_map

ROWS = {"gsm8k": 300, "zeroeval": 700, "bfcl": 400, "mmlu": 1500, "llmrouter": 1000}
EPSILON = {"mmlu": 0.05, "gsm8k": 0.15, "llmrouter": 0.08, "zeroeval": 0.1, "bfcl": 0.1}
BINS = 10
POLICIES = ("quality", "balanced", "cheapest")


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence from the share that was right, over bins of equal size."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    found = [len(rows) * abs(confidence[rows].mean() - right[rows].mean()) for rows in parts if len(rows)]
    return float(sum(found) / len(right))


def of_runner_up(fitted: Fitted) -> MonotoneMap:
    """The map artifacts had before: for the default policy's choices, and against the runner-up alone."""
    quality, decision, actual = fitted.quality, fitted.decision, fitted.outcomes.quality
    rows = np.arange(len(quality))
    others = quality.copy()
    others[rows, decision] = -np.inf
    margin = quality[rows, decision] - others.max(1)
    difference = actual[rows, decision] - actual[rows, others.argmax(1)]
    seen = np.isfinite(difference)
    if np.ptp(margin[seen]) < 1e-9:
        return MonotoneMap(np.array([0.0]), np.array([float((difference[seen] >= 0).mean())]))
    weight = np.asarray(fitted.outcomes.weight[seen])
    return isotonic_map(margin[seen], (difference[seen] >= 0).astype(np.float64), weight)


def judged(batch: DecisionBatch, test: Outcomes, before: MonotoneMap, constant: float) -> dict[str, float]:
    """How far each of the three is off."""
    rows = np.arange(len(test))
    right = (test.quality[rows, batch.choice] >= np.nanmax(test.quality, axis=1)).astype(np.float64)
    scores = batch.scores.astype(np.float64)
    others = scores.copy()
    others[rows, batch.choice] = -np.inf
    earlier = before(scores[rows, batch.choice] - others.max(1))
    outside = ~batch.prediction_set[rows, batch.choice]
    return {
        "right": round(float(right.mean()), 4),
        "mean confidence": round(float(batch.confidence.mean()), 4),
        "calibration error": round(calibration_error(batch.confidence.astype(np.float64), right), 4),
        "of the default's map": round(calibration_error(earlier, right), 4),
        "of a constant": round(calibration_error(np.full(len(test), constant), right), 4),
        "chosen outside the prediction set": round(float(outside.mean()), 4),
        "highest confidence outside it": round(float(batch.confidence[outside].max(initial=0.0)), 4),
    }


def main() -> None:
    """Five tables; training, calibration and test rows are whole groups apart."""
    figures: dict[str, object] = {}
    means: dict[str, list[float]] = {"calibration error": [], "of the default's map": [], "of a constant": []}
    for name, count in ROWS.items():
        outcomes = table(name)
        if outcomes is None:
            return
        train, rest = draw(outcomes, count, 0)
        half = len(rest) // 2
        calibration, test = (outcomes.rows(np.sort(part)) for part in (rest[:half], rest[half:][:3000]))
        assert test.features is not None
        fitted = fit(outcomes.rows(np.sort(train)))
        # Near copies that groups have not found would be refused.
        assert calibration.features is not None
        known = training_rows(Router(fitted.artifact).header, calibration.features).rows
        calibration = calibration.rows(np.flatnonzero(~known))
        before = of_runner_up(fitted)
        rows = np.arange(len(train))
        seen = fitted.outcomes.quality
        constant = float((seen[rows, fitted.decision] >= np.nanmax(seen, axis=1)).mean())
        artifacts: dict[str, bytes] = {"default": fitted.artifact}
        try:
            artifacts["certificate"] = calibrate(
                fitted.artifact, calibration, max_quality_loss=EPSILON[name]
            ).artifact
        except NotCertifiedError as error:
            print(f"{name}: {error}")
        for cut in (0.2, 0.5):
            try:
                artifacts[f"cost cut {cut}"] = dial_cost_cut(fitted.artifact, calibration, cut).artifact
            except OptionError as error:
                print(f"{name}: {error}")
        entry: dict[str, object] = {"training rows": len(train), "test rows": len(test)}
        for label, artifact in artifacts.items():
            entry[label] = judged(Router(artifact).route_features(test.features), test, before, constant)
        router = Router(fitted.artifact)
        overrides: dict[str, dict[str, object]] = {f"policy {word}": {"policy": word} for word in POLICIES}
        overrides |= {f"pin {model}": {"pin": model} for model in outcomes.models[:4]}
        for label, options in overrides.items():
            asked = router.options(**options)  # type: ignore[arg-type]
            columns = _core.decide_features(router._engine, test.features, asked)
            entry[label] = judged(router._batch(columns, 0), test, before, constant)
        for field, values in means.items():
            values += [each[field] for each in entry.values() if isinstance(each, dict)]
        figures[name] = entry
    figures["mean over tables and policies"] = {
        field: round(float(np.mean(values)), 4) for field, values in means.items()
    }
    write(
        "confidence",
        figures,
        "Expected calibration error of 'no other model would have been better', ten bins of equal size. Sampling "
        "alone gives about .03 with 300 test rows and .01 with 3,000.",
    )


if __name__ == "__main__":
    main()
