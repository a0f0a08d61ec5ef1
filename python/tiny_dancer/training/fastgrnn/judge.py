"""How good a classifier is on labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.intervals import exact_interval
from tiny_dancer.evaluation.overlap import training_inputs
from tiny_dancer.training.fastgrnn.data import with_known_labels

if TYPE_CHECKING:
    from tiny_dancer.routing import Classifier
    from tiny_dancer.training.fastgrnn.data import Examples

_BINS = 15


@dataclass(frozen=True, slots=True)
class Judged:
    """Figures on rows whose label the classifier knows.

    Attributes:
        rows: how many.
        unknown: rows left out, whose label it does not know.
        accuracy: share labelled rightly.
        interval: of the accuracy, 95 % (Clopper-Pearson).
        macro_f1: mean over labels of the harmonic mean of precision and recall.
        log_loss: mean −log of the right label's probability.
        calibration_error: expected calibration error over 15 equal bins of confidence (Guo et al. 2017).
        trained_on: share of these rows that the classifier was trained on: they are too good. Equal inputs are
            found; 0 where the artifact remembers none.
    """

    rows: int
    unknown: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    log_loss: float
    calibration_error: float
    trained_on: float = 0.0


def judge(classifier: Classifier, examples: Examples) -> Judged:
    """Judges a classifier; rows with labels it does not know are left out, with a warning.

    Raises:
        DataError: no row has a label it knows.
        RequestError: inputs the classifier cannot take.
    """
    known = with_known_labels(examples, classifier.labels)
    number = {name: at for at, name in enumerate(classifier.labels)}
    label = np.array([number[name] for name in known.label])
    probabilities = classifier.predict_proba(known.inputs).astype(np.float64)
    guess = probabilities.argmax(1)
    right = guess == label
    confidence = probabilities.max(1)
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gaps = np.bincount(place, confidence - right, minlength=_BINS)
    both = np.bincount(label[right], minlength=len(number))
    given, guessed = (np.bincount(each, minlength=len(number)) for each in (label, guess))
    seen = given > 0
    f1 = 2 * both[seen] / np.maximum(given[seen] + guessed[seen], 1)
    chosen = np.maximum(probabilities[np.arange(len(label)), label], 1e-12)
    return Judged(
        rows=len(known),
        unknown=len(examples) - len(known),
        accuracy=float(right.mean()),
        interval=exact_interval(int(right.sum()), len(right)),
        macro_f1=float(f1.mean()),
        log_loss=float(np.log(1 / chosen).mean()),
        calibration_error=float(np.abs(gaps).sum() / len(label)),
        trained_on=training_inputs(classifier.header, known.inputs).share,
    )
