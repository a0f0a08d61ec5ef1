"""How true is the probability of a choice nobody trained for? Judged on label sets the scale has not seen.

Each of the four sets of recipes/zero_shot.py is judged with the scale fitted on the other three; Seal-Tools and
kinds of tasks with that of all four. Choices are drawn at random or among those most like the right one, 2 to
50 of them. Beside the accuracy stand those of guessing and of the set's most frequent label, beside the
calibration error (15 bins of equal width) that of certainty (confidence 1). `sure` are answers with a
confidence of at least 0.8, which are given although a model could be asked. `calibrated` are those on which the
answer says so: the likest choice is at least 0.15 alike. Kinds of tasks are not what a text is about: there
likeness must not be believed, and is told so by being unsure.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))
from common import write
from tiny_dancer.routing import zero_shot
from zero_shot import FITTED, JUDGED, draw, fit_scale, label_sets

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SEED = 1


def calibration_error(confidence: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error, 15 bins of equal width (Naeini et al. 2015)."""
    bins = np.minimum((confidence * 15).astype(int), 14)
    parts = [(bins == each).mean() * abs((right - confidence)[bins == each].mean()) for each in np.unique(bins)]
    return float(sum(parts))


def interval(confidence: Floats, right: npt.NDArray[np.bool_]) -> list[float]:
    """Calibration error and its 95 % interval over questions drawn anew."""
    dice = np.random.default_rng(0)
    drawn = [
        calibration_error(confidence[at], right[at])
        for at in (dice.integers(0, len(right), len(right)) for _ in range(200))
    ]
    return [
        round(float(each), 4)
        for each in (calibration_error(confidence, right), *np.quantile(drawn, (0.025, 0.975)))
    ]


def judge(given: Any, scale: float, near: bool) -> dict[str, Any]:
    """Figures of the questions of one set."""
    confidence, right, chance, alike = [], [], [], []
    for each in draw(given, SEED):
        if each.near is near:
            shares = zero_shot.probabilities(each.likeness, scale)
            confidence.append(shares.max(1))
            right.append(shares.argmax(1) == 0)
            chance.append(1 / shares.shape[1])
            alike.append(each.likeness.max(1) >= zero_shot.LEAST_LIKENESS)
    sure_of, is_right, is_alike = np.concatenate(confidence), np.concatenate(right), np.concatenate(alike)
    sure = sure_of >= 0.8
    frequent = np.bincount(given.right).max() / len(given.right)
    return {
        "questions": len(is_right),
        "accuracy": round(float(is_right.mean()), 4),
        "guessing": round(float(np.mean(chance)), 4),
        "most_frequent_of_all_labels": round(float(frequent), 4),
        "confidence": round(float(sure_of.mean()), 4),
        "calibration_error": interval(sure_of, is_right),
        "calibration_error_of_certainty": round(float(1 - is_right.mean()), 4),
        "sure": {"share": round(float(sure.mean()), 4), "accuracy": round(float(is_right[sure].mean()), 4)},
        "calibrated": {
            "share": round(float(is_alike.mean()), 4),
            "calibration_error": round(calibration_error(sure_of[is_alike], is_right[is_alike]), 4),
        },
    }


def main() -> None:
    sets = label_sets()
    drawn = {name: draw(sets[name]) for name in FITTED}
    result: dict[str, Any] = {
        "scale": round(fit_scale(list(drawn.values())), 2),
        "shipped_scale": zero_shot.SCALE,
        "encoder": zero_shot.FITTED_ON,
        "sets": {},
    }
    for name in JUDGED:
        scale = fit_scale([each for other, each in drawn.items() if other != name])
        found = {"labels": sets[name].likeness.shape[1], "scale_without_it": round(scale, 2)}
        for near in (False, True):
            found["most_alike" if near else "at_random"] = judge(sets[name], scale, near)
        result["sets"][name] = found
        print(name, found, flush=True)
    write("zero_shot", result, __doc__)


if __name__ == "__main__":
    main()
